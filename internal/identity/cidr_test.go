package identity

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNetworks(t *testing.T) {
	t.Parallel()
	n, err := ReadNetworks(write(t, `
# the longest counts
10.0.0.0/8: office
10.20.0.0/16: databases
10.20.0.5: "the big one"
2001:db8::/32: partner
192.168.7.0/24: _external
`))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"10.1.1.1": "office", "10.20.1.1": "databases", "10.20.0.5": "the big one", "2001:db8:1::1": "partner", "192.168.7.9": "_external", "8.8.8.8": "",
	} {
		got := ""
		if id := n.find(netip.MustParseAddr(address)); id != nil {
			got = id.Workload
		}
		if got != want {
			t.Errorf("%s is %q, want %q", address, got, want)
		}
	}
	if empty, err := parseNetworks([]byte("# nothing\n")); err != nil || empty.find(netip.MustParseAddr("10.0.0.1")) != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestNetworkErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, content, want string }{
		{"syntax", "10.0.0.0/8: [a\n", "line"},
		{"list", "- 10.0.0.0/8\n", "line 1: give a map"},
		{"text", "names\n", "line 1: give a map"},
		{"no CIDR", "office: 10.0.0.0/8\n", `line 1: ip "office" is neither`},
		{"host bits", "\n10.0.0.1/8: office\n", "line 2: ip \"10.0.0.1/8\" has host bits"},
		{"twice", "10.0.0.0/8: a\n10.0.0.0/8: b\n", "10.0.0.0/8"},
		{"no name", "10.0.0.0/8:\n", "line 1: 10.0.0.0/8 has no name"},
		{"a map", "10.0.0.0/8: {a: b}\n", "line 1: 10.0.0.0/8 has no name"},
		{"reserved", "10.0.0.0/8: _other\n", `name "_other" of 10.0.0.0/8: only _node, _external, _unknown`},
		{"two documents", "10.0.0.0/8: a\n---\n11.0.0.0/8: b\n", "a second document"},
	} {
		_, err := ReadNetworks(write(t, test.content))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v has no %q", test.name, err, test.want)
		}
	}
	if _, err := ReadNetworks("/nonexistent"); err == nil || !strings.Contains(err.Error(), "give a readable YAML file") {
		t.Errorf("no file: %v", err)
	}
}
