package identity

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// liveHeap is what is in use after a collection, in bytes.
func liveHeap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what is shared is given up by the second
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// TestMemory bounds what an agent in node scope keeps of a large cluster: of each pod behind a Service, and of each Service.
func TestMemory(t *testing.T) { // not in parallel: others take memory too
	const services, pods = 1000, 15
	k, _ := source(t, nil)
	uid := func(kind, i int) types.UID {
		return types.UID(fmt.Sprintf("%08x-1c2d-4e3f-8a9b-%012x", i*2654435761&0xffffffff, kind<<40|i))
	}
	address := func(network, i int) string {
		return netip.AddrFrom4([4]byte{10, byte(network), byte(i >> 8), byte(i)}).String()
	}
	fill := func(w *informer, object func(i int) info) float64 {
		before := liveHeap()
		list := make([]any, services)
		for i := range list {
			list[i] = object(i)
		}
		if err := w.Replace(list, "1"); err != nil {
			t.Fatal(err)
		}
		return liveHeap() - before
	}
	tell(t, &k.pods, aPod("web", "node1", "10.1.0.1"))
	of := fill(&k.services, func(i int) info {
		s := aService(fmt.Sprintf("checkout-%05d", i), address(96, i))
		s.Namespace, s.UID = fmt.Sprintf("team-%03d", i/20), uid(1, i)
		return k.services.strip(s)
	}) / services
	if t.Logf("%.0f bytes for each Service", of); of > 300 {
		t.Errorf("a Service takes %.0f bytes", of)
	}
	of = fill(&k.slices, func(i int) info {
		service := fmt.Sprintf("checkout-%05d", i)
		s := &discoveryv1.EndpointSlice{}
		s.Name, s.Namespace, s.Labels = service+"-x7k2p", fmt.Sprintf("team-%03d", i/20), map[string]string{discoveryv1.LabelServiceName: service}
		port := int32(8080)
		s.Ports = []discoveryv1.EndpointPort{{Port: &port}}
		for n := range pods {
			node := fmt.Sprintf("node%d", (i*pods+n)%500)
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{address(128, i*pods+n)}, NodeName: &node,
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("%s-7d9c6b5f4-x%04d", service, n), UID: uid(2, i*pods+n)},
			})
		}
		return k.slices.strip(s)
	}) / (services * pods)
	if t.Logf("%.0f bytes for each pod behind a Service", of); of > 105 {
		t.Errorf("a pod behind a Service takes %.0f bytes", of)
	}
	if id := k.Lookup(netip.MustParseAddr(address(128, 77)), 0); id.Pod != "checkout-00005-7d9c6b5f4-x0002" || id.Node != "node77" {
		t.Errorf("one of them is %+v", id)
	}
	want, hashes := 3, map[uint32]bool{} // the pod of this node, its node, and who was asked for
	for i := range services {
		hash := k.owners.index.hash(netip.MustParseAddr(address(96, i)))
		if hashes[hash] { // of an earlier Service's address too, which chance has it
			want++
		}
		hashes[hash] = true
	}
	if n := len(k.owners.addresses); n != want {
		t.Errorf("the table of owners has %d addresses, want %d", n, want)
	}
}
