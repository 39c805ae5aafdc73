package identity

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/record"
)

// TestEndpointOf: an address with a port tells the Service, if it is an endpoint of one alone that has an address of its own.
func TestEndpointOf(t *testing.T) {
	t.Parallel()
	k, _ := source(t, nil)
	at := func(slice *discoveryv1.EndpointSlice, protocol corev1.Protocol, port int32) *discoveryv1.EndpointSlice {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Port: &port, Protocol: &protocol})
		return slice
	}
	api := at(at(aSlice("api", "api-1", "node1", "10.244.1.2"), corev1.ProtocolTCP, 8080), corev1.ProtocolUDP, 53)
	headless := at(aSlice("api-pods", "api-1", "node1", "10.244.1.2"), corev1.ProtocolTCP, 8080)
	headless.Labels[corev1.IsHeadlessService] = ""
	metrics := at(aSlice("metrics", "api-1", "node1", "10.244.1.2"), corev1.ProtocolTCP, 9000)
	server := at(aSlice("kubernetes", "", "node1", "192.168.0.9"), corev1.ProtocolTCP, 6443)
	server.Endpoints[0].TargetRef = nil // nothing but an address
	tell(t, &k.slices, api, headless, metrics, server)
	expect := func(to string, protocol record.Protocol, want string) {
		t.Helper()
		if got := k.EndpointOf(netip.MustParseAddrPort(to), protocol); got != want {
			t.Errorf("%s %s is an endpoint of %q, want %q", protocol, to, got, want)
		}
	}
	expect("10.244.1.2:8080", record.ProtocolTCP, "shop/api")
	expect("10.244.1.2:8080", record.ProtocolUDP, "")
	expect("10.244.1.2:53", record.ProtocolUDP, "shop/api")
	expect("10.244.1.2:9000", record.ProtocolTCP, "shop/metrics")
	expect("10.244.1.2:40000", record.ProtocolTCP, "")
	expect("10.244.1.3:8080", record.ProtocolTCP, "")
	expect("192.168.0.9:6443", record.ProtocolTCP, "shop/kubernetes")

	if err := k.slices.Add(at(aSlice("canary", "api-1", "node1", "10.244.1.2"), corev1.ProtocolTCP, 8080)); err != nil {
		t.Fatal(err)
	}
	expect("10.244.1.2:8080", record.ProtocolTCP, "") // of two
	if err := k.slices.Delete(api); err != nil {
		t.Fatal(err)
	}
	expect("10.244.1.2:8080", record.ProtocolTCP, "shop/canary")
	expect("10.244.1.2:53", record.ProtocolUDP, "")
	moved := at(aSlice("canary", "api-1", "node1", "10.244.1.2"), corev1.ProtocolTCP, 8081)
	before, _ := k.Version()
	if err := k.slices.Update(moved); err != nil {
		t.Fatal(err)
	}
	after, _ := k.Version()
	if after == before {
		t.Error("nobody asks again after another port")
	}
	if err := k.slices.Update(moved); err != nil {
		t.Fatal(err)
	}
	if again, _ := k.Version(); again != after {
		t.Error("the version changes though nothing has")
	}
	expect("10.244.1.2:8080", record.ProtocolTCP, "")
	expect("10.244.1.2:8081", record.ProtocolTCP, "shop/canary")
}

// TestSameHash: two endpoints whose addresses have one hash are two, whichever of them comes and goes.
func TestSameHash(t *testing.T) {
	t.Parallel()
	k, clock := source(t, nil)
	seen := map[uint32]string{}
	var one, other string
	for i := 0; one == ""; i++ {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		h := k.endpointIndex.hash(a)
		one, other = seen[h], a.String()
		seen[h] = other
	}
	api, cart := aSlice("api", "api-1", "node2", one), aSlice("cart", "cart-1", "node3", other)
	expect := func(address, pod string) {
		t.Helper()
		if got := clock.lookup(k, address).Pod; got != pod {
			t.Errorf("%s is %q, want %q", address, got, pod)
		}
	}
	tell(t, &k.slices, api, cart)
	if n := len(k.owners.addresses); n != 0 {
		t.Errorf("the table of owners has %d addresses of them", n)
	}
	expect(one, "api-1")
	expect(other, "cart-1")
	if err := k.slices.Delete(api); err != nil {
		t.Fatal(err)
	}
	clock.at += time.Minute
	expect(one, "")
	expect(other, "cart-1")
}
