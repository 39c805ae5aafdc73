package identity

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"
)

// FuzzFile reads identity files.
func FuzzFile(f *testing.F) {
	f.Add([]byte("- ip: 10.244.1.2\n  namespace: default\n  pod: web-1\n  workload: web\n  node: n1\n  ingress_bandwidth: 10M\n- ip: 10.96.0.10\n  service: api\n  endpoints: 0\n"))
	f.Add([]byte("- ip: 172.18.0.0/16\n  workload: _node\n- ip: ::/0\n  workload: _external\n"))
	f.Add([]byte("- &a {ip: 10.0.0.1, workload: x}\n- *a\n-\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := parse(data)
		if err != nil {
			return
		}
		for _, text := range []string{"10.244.1.2", "172.18.0.2", "fd00::1", "::ffff:10.0.0.1"} {
			id := table.Lookup(netip.MustParseAddr(text), 0)
			if err := checkPrintable(id.Workload + id.Pod + id.Namespace + id.Service + id.Node); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzNetworks reads files of names by CIDR.
func FuzzNetworks(f *testing.F) {
	f.Add([]byte("10.20.0.0/16: databases\n10.20.1.1: one\n0.0.0.0/0: _external\nfd00::/8: six\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseNetworks(data)
		if err != nil {
			return
		}
		if id := n.find(netip.MustParseAddr("10.20.1.1")); id != nil && checkPrintable(id.Workload) != nil {
			t.Errorf("%q", id.Workload)
		}
	})
}

// FuzzCache starts from names that an earlier run saved, whatever is in the file.
func FuzzCache(f *testing.F) {
	boot, err := bootID()
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	f.Add([]byte(`{"version":1,"node":"node1","boot":"` + boot + `","names":[{"address":"10.0.0.1","uid":"a","rank":2,"id":{"pod":"web-1","node":"node1"}},{"address":"","uid":"","rank":99}]}`))
	f.Add([]byte(`{"version":1,"node":"node1","names":[{"address":"fd00::1%eth0"},null]}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, _ := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
		if err := os.WriteFile(k.cachePath(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		k.loadCache()
		k.Lookup(netip.MustParseAddr("10.0.0.1"), time.Second)
		k.dropStale()
		k.owners.current(func(a netip.Addr, o owner) {
			if o.id.Stale {
				t.Errorf("%v is still %+v", a, o.id)
			}
		})
	})
}

// FuzzList reads lists as the API server sends them.
func FuzzList(f *testing.F) {
	f.Add(append(listMagic[:], 0x12, 6, 0x0a, 0, 0x12, 2, 0x0a, 0))
	f.Add(append(listMagic[:], 0x0a, 3, 'a', 'b', 'c', 0x12, 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := 0
		_, _ = decodeList(bytes.NewReader(data), func(item []byte) error { read += len(item); return nil })
		if read > len(data) {
			t.Errorf("items of %d bytes in %d", read, len(data))
		}
	})
}
