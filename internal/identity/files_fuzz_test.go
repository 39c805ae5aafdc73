package identity

import (
	"net/netip"
	"os"
	"testing"
	"time"
)

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
	f.Add([]byte(`{"version":1,"node":"node1","boot":"`+boot+`","names":[{"address":"10.0.0.1","uid":"a","rank":2,"id":{"pod":"web-1","node":"node1"}},{"address":"","uid":"","rank":99}]}`), []byte(nil))
	f.Add([]byte(`{"version":1,"node":"node1","boot":"`+boot+`","written":"a","names":[]}`), []byte(`{"of":"a"}
{"address":"10.0.0.1","uid":"a","rank":4,"id":{"pod":"web-1","node":"node1"}}
{"address":"10.0.0.1","rank":0,"id":{}}
{"addr`))
	f.Add([]byte(`{"version":1,"node":"node1","names":[{"address":"fd00::1%eth0"},null]}`), []byte(`null`))
	f.Add([]byte(`{"version":2}`), []byte(nil))
	f.Fuzz(func(t *testing.T, data, changes []byte) {
		k, _ := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
		if err := os.WriteFile(k.cachePath(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(k.changesPath(), changes, 0o600); err != nil {
			t.Fatal(err)
		}
		k.loadCache()
		k.Lookup(netip.MustParseAddr("10.0.0.1"), time.Second)
		k.dropStale()
		for a, x := range k.owners.addresses {
			for _, o := range x.owners {
				if o.id.Stale {
					t.Errorf("%v is still %+v", a, o.id)
				}
			}
		}
		if k.owners.saved != nil {
			t.Errorf("%d names are still there", len(k.owners.saved))
		}
	})
}
