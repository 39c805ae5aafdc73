package trace

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/internal/netdev"
	"tracer/internal/trace/tracetest"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var cluster = tracetest.Cluster()

func testDevices() []netdev.Device {
	fifo := netdev.Qdisc{Kind: "pfifo_fast", Handle: "0:"}
	return []netdev.Device{
		{Index: 4, Name: "cali1", Role: netdev.RolePod, Lowest: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 7, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem", Handle: "10:"}},
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Lowest: true, Up: true, Root: fifo},
	}
}

var update = flag.Bool("update", false, "write testdata anew")

// golden compares with a file in testdata.
func golden(t testing.TB, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", path, diff)
	}
}
