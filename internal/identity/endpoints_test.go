package identity

import (
	"net/netip"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/aggregate"
	"tracer/internal/record"
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

// TestEndpointCounts counts the endpoints of a Service that traffic can be sent to, in all of its slices.
func TestEndpointCounts(t *testing.T) {
	t.Parallel()
	k, _ := source(t, nil)
	expect := func(service string, want record.ServiceEndpoints, known bool) {
		t.Helper()
		if got, ok := k.Endpoints(service); got != want || ok != known {
			t.Errorf("%s: %+v %t, want %+v %t", service, got, ok, want, known)
		}
	}
	change := func(slice *discoveryv1.EndpointSlice, change func(*discoveryv1.EndpointConditions)) *discoveryv1.EndpointSlice {
		change(&slice.Endpoints[0].Conditions)
		return slice
	}
	unready := func(c *discoveryv1.EndpointConditions) { c.Ready = new(false) }
	expect("shop/api", record.ServiceEndpoints{}, false)
	tell(t, &k.slices,
		aSlice("api", "api-1", "node1", "10.244.1.2"), aSlice("api", "api-2", "node2", "10.244.2.2"),
		change(aSlice("api", "api-3", "node1", "10.244.1.3"), unready),
		change(aSlice("cart", "cart-1", "node1", "10.244.1.4"), unready),
		change(aSlice("desk", "desk-1", "node2", "10.244.2.5"), func(c *discoveryv1.EndpointConditions) {
			c.Ready, c.Serving, c.Terminating = new(false), new(true), new(true)
		}))
	expect("shop/api", record.ServiceEndpoints{Ready: 2, Local: 1}, true)
	expect("shop/cart", record.ServiceEndpoints{}, true)
	expect("shop/desk", record.ServiceEndpoints{Ready: 1}, true)
	expect("shop/other", record.ServiceEndpoints{}, false)
	if err := k.slices.Update(change(aSlice("api", "api-1", "node1", "10.244.1.2"), unready)); err != nil {
		t.Fatal(err)
	}
	expect("shop/api", record.ServiceEndpoints{Ready: 1}, true)
	if err := k.slices.Delete(aSlice("cart", "cart-1", "node1", "10.244.1.4")); err != nil {
		t.Fatal(err)
	}
	expect("shop/cart", record.ServiceEndpoints{}, false)
}
