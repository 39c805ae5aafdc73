package identity

import (
	"errors"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, content, want string }{
		{"syntax", "- ip: 10.0.0.1\n  workload: [web\n", "did not find expected ',' or ']'"},
		{"no list", "ip: 10.0.0.1\n", "line 1: cannot unmarshal !!map into a list of entries"},
		{"no entry", "- 10.0.0.1\n", "line 1: cannot unmarshal !!str `10.0.0.1` into an entry"},
		{"unknown key", "- ip: 10.0.0.1\n  wrkload: web\n", "line 2: field wrkload not found; the keys are ip, namespace"},
		{"key twice", "- ip: 10.0.0.1\n  ip: 10.0.0.2\n", `line 2: mapping key "ip" already defined at line 1`},
		{"no ip", "\n- workload: web\n", "line 2: entry without ip"},
		{"nothing", "- {ip: 10.0.0.1, workload: a}\n-\n", "line 2: an empty entry"},
		{"bad ip", "- {ip: 10.0.0.256, workload: web}\n", `line 1: ip "10.0.0.256" is neither an address nor a CIDR`},
		{"zone", "- {ip: 'fe80::1%eth0', workload: web}\n", "neither an address nor a CIDR"},
		{"bad length", "- {ip: 10.0.0.0/33, workload: web}\n", "neither an address nor a CIDR"},
		{"host bits", "- {ip: 10.0.0.1/24, workload: web}\n", "write 10.0.0.0/24 for the network"},
		{"mapped", "- {ip: '::ffff:10.0.0.0/112', workload: web}\n", "write it as IPv4"},
		{"duplicate", "- {ip: 10.0.0.1, workload: a}\n- {ip: 10.0.0.2, workload: b}\n- {ip: 10.0.0.1, workload: c}\n",
			`line 3: ip "10.0.0.1" is in line 1 already`},
		{"duplicate as mapped", "- {ip: 10.0.0.1, workload: a}\n- {ip: '::ffff:10.0.0.1', workload: b}\n", "line 2: ip"},
		{"duplicate as a CIDR", "- {ip: 10.0.0.1, workload: a}\n- {ip: 10.0.0.1/32, workload: b}\n", "line 2: ip"},
		{"no workload", "- {ip: 10.0.0.1, namespace: default, pod: web-1}\n", "line 1: ip \"10.0.0.1\" has neither workload nor service"},
		{"reserved", "- {ip: 10.0.0.1, workload: _other}\n", `workload "_other" of ip "10.0.0.1": only _node, _external, _unknown`},
		{"two documents", "- {ip: 10.0.0.1, workload: a}\n---\n- {ip: 10.0.0.2, workload: b}\n", "line 2: a second document"},
	} {
		path := write(t, test.content)
		_, err := LoadFile(path)
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		for _, want := range []string{"read identities: " + path, test.want} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s:\n%v\nhas no %q", test.name, err, want)
			}
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := LoadFile(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := LoadFile(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("directory: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(cluster))
	f.Add([]byte("- {ip: 10.0.0.0/8, workload: a}\n- &x {ip: '::1', workload: b}\n- *x\n"))
	f.Add([]byte("- {ip: 10.0.0.1, workload: web}\n---\n"))
	f.Add([]byte("- <<: {ip: 10.0.0.1}\n  workload: web\n"))
	f.Add([]byte("- !!null\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := parse(data)
		if err != nil {
			if x != nil || err.Error() == "" || strings.Contains(err.Error(), "identity.") {
				t.Errorf("error %q", err)
			}
			return
		}
		// Whatever was accepted is found again and has a name.
		check := func(addr netip.Addr) {
			if id := x.find(addr); id == nil || id.Workload == "" && id.Service == "" {
				t.Errorf("%v is %+v", addr, id)
			}
		}
		for addr := range x.hosts {
			check(addr)
		}
		for network := range x.networks {
			check(network.Addr())
		}
	})
}
