package identity

import (
	"net/netip"
	"testing"
	"time"

	"tracer/internal/aggregate"
)

// TestHostNetworkBehindServices: of a node's address many pods may be, each behind Services of its own.
func TestHostNetworkBehindServices(t *testing.T) {
	t.Parallel()
	k, clock := source(t, nil)
	k.SetNodes(&Nodes{networks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}})
	exporter := aPod("exporter-1", "node1", "192.168.0.1")
	exporter.Spec.HostNetwork = true
	tell(t, &k.pods, exporter)
	tell(t, &k.slices,
		aSlice("exporter", "exporter-1", "node1", "192.168.0.1"), aSlice("proxy", "proxy-1", "node1", "192.168.0.1"),
		aSlice("exporter", "exporter-2", "node2", "192.168.0.2"), aSlice("proxy", "proxy-2", "node2", "192.168.0.2"))
	expect := func(address, node string) {
		t.Helper()
		if got, want := clock.lookup(k, address), (aggregate.Identity{Workload: "_node", Node: node}); got != want {
			t.Errorf("%s is %+v, want %+v", address, got, want)
		}
	}
	expect("192.168.0.1", "node1")
	expect("192.168.0.2", "node2")
	if err := k.slices.Delete(aSlice("exporter", "exporter-2", "node2", "192.168.0.2")); err != nil {
		t.Fatal(err)
	}
	clock.at += time.Second
	expect("192.168.0.2", "node2") // of the other one
	if err := k.slices.Delete(aSlice("proxy", "proxy-2", "node2", "192.168.0.2")); err != nil {
		t.Fatal(err)
	}
	clock.at += time.Second
	if got := clock.lookup(k, "192.168.0.2"); got != (aggregate.Identity{}) {
		t.Errorf("an address that was a node's is %+v", got)
	}
	expect("192.168.0.1", "node1")
}

// TestMovedBetweenSlices: an EndpointSlice hands a pod on to another one, and the watch tells the end first.
func TestMovedBetweenSlices(t *testing.T) {
	t.Parallel()
	k, clock := source(t, nil)
	slice := aSlice("api", "api-1", "node2", "10.244.2.2")
	tell(t, &k.slices, slice)
	clock.at += time.Minute
	if err := k.slices.Delete(slice); err != nil {
		t.Fatal(err)
	}
	clock.at += 10 * time.Millisecond
	moved := slice.DeepCopy()
	moved.Name = "api-other"
	if err := k.slices.Add(moved); err != nil {
		t.Fatal(err)
	}
	clock.at += time.Second
	want := aggregate.Identity{Namespace: "shop", Pod: "api-1", Workload: "api", Node: "node2"}
	for _, ago := range []time.Duration{0, 30 * time.Second} {
		if got := k.Lookup(netip.MustParseAddr("10.244.2.2"), clock.at-ago); got != want {
			t.Errorf("%v ago it was %+v, want %+v", ago, got, want)
		}
	}
}
