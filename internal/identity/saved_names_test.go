package identity

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/aggregate"
)

// TestAskedWhileSaved saves names while many are looked up for the first time: none is missing in the file.
func TestAskedWhileSaved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, clock := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	const slices, each = 200, 100
	address := func(i int) string { return fmt.Sprintf("10.%d.%d.%d", 1+i/62500, i/250%250, 1+i%250) }
	var list []*discoveryv1.EndpointSlice
	for s := range slices {
		slice := aSlice(fmt.Sprint("s", s), fmt.Sprint("p", s*each), "node2", address(s*each))
		for i := s*each + 1; i < (s+1)*each; i++ {
			slice.Endpoints = append(slice.Endpoints, aSlice("", fmt.Sprint("p", i), "node2", address(i)).Endpoints...)
		}
		list = append(list, slice)
	}
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	var group sync.WaitGroup
	group.Go(func() {
		for i := range maxAsked - 10 {
			// The last ones are written last.
			for at := slices*each - 1 - i; k.Lookup(netip.MustParseAddr(address(at)), clock.at).Pod == ""; {
				time.Sleep(time.Millisecond)
			}
		}
	})
	tell(t, &k.slices, list...) // which saves them
	group.Wait()
	k.saveCache(true)
	next, clock := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	missing := 0
	for i := range slices * each {
		if got := clock.lookup(next, address(i)).Pod; got != fmt.Sprint("p", i) {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d are not saved", missing, slices*each)
	}
}

// TestSavedWhole: an orderly end leaves one file with all names, as earlier versions read it.
func TestSavedWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, clock := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	slice := aSlice("api", "api-0", "node2", "10.244.2.0")
	for i := range 100 {
		slice.Endpoints = append(slice.Endpoints, aSlice("", fmt.Sprint("api-", i+1), "node2", fmt.Sprintf("10.244.2.%d", i+1)).Endpoints...)
	}
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	tell(t, &k.slices, slice)
	if err := k.pods.Add(aPod("new", "node1", "10.244.1.3")); err != nil {
		t.Fatal(err)
	}
	k.saveCache(false)
	changes := filepath.Join(dir, "identities.changes")
	if _, err := os.Stat(changes); err != nil {
		t.Fatal(err)
	}
	k.saveCache(true)
	if _, err := os.Stat(changes); !os.IsNotExist(err) {
		t.Errorf("the changes are still there: %v", err)
	}
	next, _ := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	if got := clock.lookup(next, "10.244.1.3").Pod; got != "new" {
		t.Errorf("the new pod is %q", got)
	}
}

// TestExpireIsNoChange: that nobody asks for a former owner any more is not written.
func TestExpireIsNoChange(t *testing.T) {
	t.Parallel()
	k, clock := source(t, func(o *KubernetesOptions) { o.StateDir = t.TempDir() })
	tell(t, &k.pods, aPod("old", "node1", "10.244.1.2"), aPod("ends", "node1", "10.244.1.3"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	tell[*discoveryv1.EndpointSlice](t, &k.slices)
	for _, err := range []error{
		k.pods.Delete(aPod("old", "node1", "10.244.1.2")), k.pods.Add(aPod("next", "node1", "10.244.1.2")), k.pods.Delete(aPod("ends", "node1", "10.244.1.3")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if changed, _ := k.owners.takeChanges(); len(changed) != 2 {
		t.Errorf("changes of %v, want two addresses", changed)
	}
	clock.at += retention + time.Minute
	k.owners.expire(clock.at)
	if changed, all := k.owners.takeChanges(); len(changed) > 0 || all {
		t.Errorf("changes of %v (all: %v) by the passing of time", changed, all)
	}
}

// TestSavedNameIsForgotten: once the API server has said who has an address, the name of an earlier run never comes back, though
// something else cannot be listed.
func TestSavedNameIsForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	with := func(o *KubernetesOptions) { o.StateDir = dir }
	k, _ := source(t, with)
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"))
	tell(t, &k.services, aService("old", "10.96.0.10"))
	tell(t, &k.slices, aSlice("api", "api-1", "node2", "10.244.2.2"))

	next, clock := source(t, with)
	tell(t, &next.pods, aPod("web", "node1", "10.244.1.2"))
	tell(t, &next.services, aService("old", "10.96.0.10")) // and no slices
	if err := next.services.Delete(aService("old", "10.96.0.10")); err != nil {
		t.Fatal(err)
	}
	clock.at += retention + time.Minute
	next.owners.expire(clock.at)
	if got := clock.lookup(next, "10.96.0.10").Service; got != "" {
		t.Errorf("the Service that is gone is %q", got)
	}
	if got := clock.lookup(next, "10.244.2.2").Pod; got != "api-1" {
		t.Errorf("a pod of which the API server has not spoken is %q", got)
	}
}

// TestSavedNamesSorted: of an address the highest rank counts, and nobody has it if two of that rank contradict each other.
func TestSavedNamesSorted(t *testing.T) {
	t.Parallel()
	entry := func(of rank, name string) cacheEntry {
		return cacheEntry{Address: anAddress, Rank: of, ID: aggregate.Identity{Pod: name}}
	}
	for _, test := range []struct {
		entries []cacheEntry
		want    string
	}{
		{[]cacheEntry{entry(endpoint, "a")}, "a"},
		{[]cacheEntry{entry(endpoint, "a"), entry(endpoint, "a")}, "a"},
		{[]cacheEntry{entry(endpoint, "a"), entry(endpoint, "b")}, ""},
		{[]cacheEntry{entry(endpoint, "a"), entry(endpoint, "b"), entry(endpoint, "a")}, ""},
		{[]cacheEntry{entry(pod, "c"), entry(endpoint, "a"), entry(endpoint, "b")}, "c"},
		{[]cacheEntry{entry(endpoint, "a"), entry(pod, "c"), entry(pod, "d")}, ""},
	} {
		var saved savedNames
		for i := range test.entries {
			saved = append(saved, newSavedName(&test.entries[i]))
		}
		saved = saved.sorted()
		if id, ok := saved.find(anAddress); id.Pod != test.want || ok != (test.want != "") {
			t.Errorf("of %v it is %q, %v; want %q", test.entries, id.Pod, ok, test.want)
		}
	}
}
