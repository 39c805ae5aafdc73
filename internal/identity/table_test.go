package identity

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"tracer/internal/aggregate"
)

const cluster = `
# as a lab writes it, and some networks
- ip: 10.244.1.2
  namespace: default
  pod: web-1
  workload: web
  node: node-1
- ip: fd00:244:1::2
  namespace: default
  pod: web-1
  workload: web
  node: node-1
- {ip: 10.96.0.10, namespace: default, service: api}
- {ip: 192.168.0.1, workload: _node, node: node-1}
- {ip: 0.0.0.0/0, workload: _external}
- {ip: 10.244.0.0/16, namespace: default, workload: pods}
- {ip: 10.244.2.0/24, namespace: default, workload: pods-2, node: node-2}
- {ip: "fd00::/16", workload: pods6, namespace: default}
`

func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "identity.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, content string) *Table {
	t.Helper()
	table, err := LoadFile(write(t, content))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestLookup(t *testing.T) {
	t.Parallel()
	table := load(t, cluster)
	node := netip.MustParseAddr("192.168.0.1")
	web := aggregate.Identity{Namespace: "default", Pod: "web-1", Workload: "web", Node: "node-1", NodeAddress: node}
	for addr, want := range map[string]aggregate.Identity{
		"10.244.1.2":        web,
		"::ffff:10.244.1.2": web,
		"fd00:244:1::2":     web,
		"fd00:244:1::2%eth": web,
		"10.96.0.10":        {Namespace: "default", Service: "api"},
		"192.168.0.1":       {Workload: "_node", Node: "node-1", NodeAddress: node},
		"10.244.1.3":        {Namespace: "default", Workload: "pods"},
		"10.244.2.3":        {Namespace: "default", Workload: "pods-2", Node: "node-2"},
		"8.8.8.8":           {Workload: "_external"},
		"fd00:1::1":         {Namespace: "default", Workload: "pods6"},
	} {
		if got := table.Lookup(netip.MustParseAddr(addr), 0); got != want {
			t.Errorf("%s is %+v, want %+v", addr, got, want)
		}
	}
	if n := table.Misses(); n != 0 {
		t.Errorf("%d misses", n)
	}
	if got := table.Lookup(netip.MustParseAddr("2001:db8::1"), 0); got != (aggregate.Identity{}) {
		t.Errorf("unknown address is %+v", got)
	}
	if got := table.Lookup(netip.Addr{}, 0); got != (aggregate.Identity{}) {
		t.Errorf("no address is %+v", got)
	}
	if n := table.Misses(); n != 2 {
		t.Errorf("%d misses", n)
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	var zero Table
	for name, table := range map[string]*Table{"zero": &zero, "no bytes": load(t, ""), "comment": load(t, "# no entry\n"), "list": load(t, "[]")} {
		if got := table.Lookup(netip.MustParseAddr("10.0.0.1"), 0); got != (aggregate.Identity{}) || table.Misses() != 1 {
			t.Errorf("%s: %+v, %d misses", name, got, table.Misses())
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := load(t, cluster)
	for _, s := range []string{"10.244.1.2", "::ffff:10.244.1.2", "10.244.2.9", "2001:db8::1"} {
		addr := netip.MustParseAddr(s)
		if n := testing.AllocsPerRun(100, func() { table.Lookup(addr, 0) }); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	table := load(b, cluster)
	for _, bench := range []struct{ name, addr string }{
		{"host", "10.244.1.2"}, {"host6", "fd00:244:1::2"}, {"network", "10.244.2.9"}, {"miss", "2001:db8::1"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			addr := netip.MustParseAddr(bench.addr)
			b.ReportAllocs()
			for b.Loop() {
				table.Lookup(addr, 0)
			}
		})
	}
}

// TestEndpointsOfFile: a file may say how many ready endpoints a Service has.
func TestEndpointsOfFile(t *testing.T) {
	t.Parallel()
	table, err := parse([]byte("- {ip: 10.96.0.1, namespace: shop, service: cart, endpoints: 0}\n- {ip: 10.96.0.2, namespace: shop, service: api}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if e, known := table.Endpoints("shop/cart"); !known || e.Ready != 0 {
		t.Errorf("%+v %t", e, known)
	}
	if e, known := table.Endpoints("shop/api"); known {
		t.Errorf("%+v", e)
	}
}
