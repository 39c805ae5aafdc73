package agent

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"tracer/internal/netdev"
)

func TestLinkSpeeds(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, files := range map[string]map[string]string{
		"eth0": {"ifindex": "2\n", "speed": "25000\n"}, "eth1": {"ifindex": "3\n", "speed": "-1\n"}, // no link
		"eth2": {"ifindex": "40\n", "speed": "1000\n"}, // of another namespace
		"eth3": {"ifindex": "5\n"}, "eth4": {"ifindex": "6\n", "speed": "10000\n"}, "cali1": {"ifindex": "7\n", "speed": "1000\n"},
	} {
		dir := filepath.Join(root, "class/net", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	devices := []netdev.Device{
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink}, {Index: 3, Name: "eth1", Role: netdev.RoleUplink}, {Index: 4, Name: "eth2", Role: netdev.RoleUplink},
		{Index: 5, Name: "eth3", Role: netdev.RoleUplink}, {Index: 6, Name: "eth4", Kind: "veth", Role: netdev.RoleUplink}, {Index: 7, Name: "cali1", Role: netdev.RolePod},
		{Index: 8, Name: "gone", Role: netdev.RoleUplink},
	}
	if got := linkSpeeds(root, devices); !maps.Equal(got, map[int]float64{2: 25e9}) {
		t.Errorf("%v", got)
	}
}
