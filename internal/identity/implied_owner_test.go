package identity

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/aggregate"
)

// TestImpliedOwners: endpoints that are there from the start take no place in the table of owners, and whatever changes is known as if
// they did.
func TestImpliedOwners(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, clock := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	var list []*discoveryv1.EndpointSlice
	for i := range 100 {
		list = append(list, aSlice("api", fmt.Sprintf("api-%d", i), "node2", fmt.Sprintf("10.244.2.%d", i)))
	}
	tell(t, &k.slices, list...)
	tell(t, &k.pods, aPod("api-1", "node1", "10.244.2.1"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	inTable := func(want int) {
		t.Helper()
		k.owners.expire(clock.at) // who was only asked for is implied again
		if got := len(k.owners.addresses); got != want {
			t.Errorf("the table of owners has %d addresses, want %d", got, want)
		}
	}
	expect := func(address string, ago time.Duration, want aggregate.Identity) {
		t.Helper()
		if got := k.Lookup(netip.MustParseAddr(address), clock.at-ago); got != want {
			t.Errorf("%s was %+v %v ago, want %+v", address, got, ago, want)
		}
	}
	api := func(i int) aggregate.Identity {
		return aggregate.Identity{Namespace: "shop", Pod: fmt.Sprintf("api-%d", i), Workload: "api", Node: "node2"}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	inTable(2) // the pod of this node, with its node's address
	expect("10.244.2.7", time.Minute, api(7))
	if !k.Resolved(netip.MustParseAddr("10.244.2.7"), clock.at) {
		t.Error("an implied owner is not resolved")
	}

	// A pod ends, and another one gets its address.
	clock.at += time.Minute
	before, _ := k.Version()
	must(k.slices.Delete(list[7]))
	if after, _ := k.Version(); after == before {
		t.Error("nobody asks again after a pod has ended")
	}
	expect("10.244.2.7", 2*time.Second, api(7))
	clock.at += 20 * time.Second
	expect("10.244.2.7", 0, aggregate.Identity{})
	next := aSlice("cart", "cart-1", "node3", "10.244.2.7")
	must(k.slices.Add(next))
	cart := aggregate.Identity{Namespace: "shop", Pod: "cart-1", Workload: "cart", Node: "node3"}
	expect("10.244.2.7", 0, cart)
	expect("10.244.2.7", 30*time.Second, api(7))
	inTable(3)

	// A pod gets behind a second Service: neither is its workload, until that is over.
	second := aSlice("canary", "api-8", "node2", "10.244.2.8")
	must(k.slices.Add(second))
	both := api(8)
	both.Workload = ""
	expect("10.244.2.8", 0, both)
	k.saveCache(false)
	restarted, then := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	staleBoth := both
	staleBoth.Stale = true
	if got := then.lookup(restarted, "10.244.2.8"); got != staleBoth {
		t.Errorf("after a restart the pod of two Services is %+v", got)
	}
	must(k.slices.Delete(second))
	expect("10.244.2.8", 0, api(8))

	// Endpoints that somebody wrote by hand have the address too, and then the first slice changes.
	byHand := aSlice("mirror", "", "", "10.244.2.12")
	byHand.Endpoints[0].TargetRef = nil
	must(k.slices.Add(byHand))
	more := list[12].DeepCopy()
	more.Endpoints = append(more.Endpoints, aSlice("api", "api-200", "node2", "10.244.2.200").Endpoints...)
	must(k.slices.Update(more))
	expect("10.244.2.12", 0, api(12))

	// It is on another node, as no pod of Kubernetes is.
	must(k.slices.Update(aSlice("api", "api-9", "node9", "10.244.2.9")))
	moved := api(9)
	moved.Node = "node9"
	expect("10.244.2.9", 0, moved)

	// A device changes, and a Service takes an address that is taken: the owner stays.
	k.DeviceChanged(netip.MustParseAddr("10.244.2.10"), clock.at)
	must(k.services.Add(aService("wrong", "10.244.2.11")))
	expect("10.244.2.10", 0, api(10))
	expect("10.244.2.11", 0, api(11))
	inTable(7)

	// When nobody asks for former owners any more, all but the pod of this node, its node and the late Service are implied again.
	clock.at += retention + time.Minute
	k.owners.expire(clock.at)
	inTable(4)
	for address, want := range map[string]aggregate.Identity{
		"10.244.2.7": cart, "10.244.2.8": api(8), "10.244.2.9": moved, "10.244.2.10": api(10), "10.244.2.11": api(11), "10.244.2.50": api(50),
	} {
		expect(address, 0, want)
	}

	// The next start knows all of them, and has none in the table once the server has answered.
	k.saveCache(false)
	again, clock := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	stale := api(50)
	stale.Stale = true
	if got := clock.lookup(again, "10.244.2.50"); got != stale {
		t.Errorf("after a restart it is %+v", got)
	}
	tell(t, &again.pods, aPod("api-1", "node1", "10.244.2.1"))
	tell(t, &again.services, aService("api", "10.96.0.10"))
	tell(t, &again.slices, list[50:]...)
	clock.at += time.Second
	again.owners.expire(clock.at)
	if got := len(again.owners.addresses); got != 2 {
		t.Errorf("after a restart the table of owners has %d addresses", got)
	}
	if got := clock.lookup(again, "10.244.2.50"); got != api(50) {
		t.Errorf("the server says %+v", got)
	}
	if got := clock.lookup(again, "10.244.2.8").Workload; got != aggregate.UnknownWorkload {
		t.Errorf("who is gone is %q", got)
	}
}

// TestAskedOwners: implied owners get into the table when somebody asks for them, but not more than some, and not for long; nobody else has to
// ask again for that.
func TestAskedOwners(t *testing.T) {
	t.Parallel()
	k, clock := source(t, nil)
	slice := aSlice("api", "api-0", "node2", "10.244.0.0")
	for i := 1; i < maxAsked+100; i++ {
		slice.Endpoints = append(slice.Endpoints, aSlice("api", fmt.Sprintf("api-%d", i), "node2", fmt.Sprintf("10.244.%d.%d", i>>8, i&255)).Endpoints...)
	}
	tell(t, &k.slices, slice)
	version, _ := k.Version()
	address := netip.MustParseAddr("10.244.2.3")
	for i := range slice.Endpoints {
		if got, want := k.Lookup(netip.MustParseAddr(slice.Endpoints[i].Addresses[0]), clock.at).Pod, fmt.Sprintf("api-%d", i); got != want {
			t.Fatalf("%d is %q", i, got)
		}
	}
	if n := len(k.owners.addresses); n != maxAsked {
		t.Errorf("%d addresses are in the table", n)
	}
	k.owners.expire(clock.at)
	if n := len(k.owners.addresses); n != 0 {
		t.Errorf("%d addresses stay in the table", n)
	}
	if now, _ := k.Version(); now != version {
		t.Error("the version changes though nothing has")
	}
	if got := k.Lookup(address, clock.at).Pod; got != "api-515" || len(k.owners.addresses) != 1 {
		t.Errorf("then it is %q, with %d in the table", got, len(k.owners.addresses))
	}
}

// TestImpliedMeanwhile: an address has its name at all times, while slices change and owners become implied.
func TestImpliedMeanwhile(t *testing.T) {
	t.Parallel()
	k, _ := source(t, nil)
	slice := func(node string) *discoveryv1.EndpointSlice {
		s := aSlice("api", "api-0", "node2", "10.244.2.0")
		for i := range 20 {
			s.Endpoints = append(s.Endpoints, aSlice("api", fmt.Sprintf("api-%d", i+1), node, fmt.Sprintf("10.244.2.%d", i+1)).Endpoints...)
		}
		return s
	}
	tell(t, &k.slices, slice("node2"))
	var group sync.WaitGroup
	var failed sync.Once
	done := make(chan struct{})
	for _, ask := range []func(){
		func() {
			for _, a := range []string{"10.244.2.0", "10.244.2.5"} {
				if id := k.Lookup(netip.MustParseAddr(a), time.Hour); id.Workload != "api" {
					failed.Do(func() { t.Errorf("%s is %+v", a, id) })
				}
			}
		},
		func() { k.owners.expire(3 * time.Hour) },
		func() { k.EndpointOf(netip.MustParseAddrPort("10.244.2.5:80"), 6) },
		func() { k.endpointIndex.implied(func(netip.Addr, owner) {}) },
	} {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Microsecond): // else the others hardly get the locks
					ask()
				}
			}
		})
	}
	for i := range 100 {
		if err := k.slices.Update(slice(fmt.Sprintf("node%d", i%3))); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	group.Wait()
}
