package identity

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/aggregate"
)

func TestCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	with := func(o *KubernetesOptions) { o.StateDir = dir }
	k, _ := source(t, with)
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"), aPod("gone", "node1", "10.244.1.3"), aPod("old", "node1", "10.244.1.4"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	tell(t, &k.slices, aSlice("api", "api-1", "node2", "10.244.2.2"))

	next, clock := source(t, with)
	if !next.Status().Stale {
		t.Error("what an earlier run knew is not stale")
	}
	for address, want := range map[string]aggregate.Identity{
		"10.244.1.2": {Namespace: "shop", Pod: "web", Workload: "web", Node: "node1", NodeAddress: netip.MustParseAddr("192.168.0.1"), Stale: true},
		"10.96.0.10": {Namespace: "shop", Service: "api", Stale: true},
		"10.244.2.2": {Namespace: "shop", Pod: "api-1", Workload: "api", Node: "node2", Stale: true},
	} {
		if got := clock.lookup(next, address); got != want {
			t.Errorf("%s is %+v, want %+v", address, got, want)
		}
	}
	// Then the API server answers: one pod is still there, of one's address nobody knows, and one has another's.
	tell(t, &next.pods, aPod("web", "node1", "10.244.1.2"), aPod("new", "node1", "10.244.1.4"))
	if got := clock.lookup(next, "10.244.1.4"); got.Pod != "new" || next.Status().Conflicts != 0 {
		t.Errorf("the new pod is %+v, %d conflicts", got, next.Status().Conflicts)
	}
	tell(t, &next.services, aService("api", "10.96.0.10"))
	tell(t, &next.slices, aSlice("api", "api-1", "node2", "10.244.2.2"))
	if s := next.Status(); s.Stale {
		t.Error("still stale")
	}
	if got := clock.lookup(next, "10.244.1.2"); got.Stale || got.Pod != "web" {
		t.Errorf("web is %+v", got)
	}
	if got := clock.lookup(next, "10.244.1.3").Workload; got != "_unknown" {
		t.Errorf("the pod that is gone is %q", got)
	}

	other, clock := source(t, func(o *KubernetesOptions) { o.StateDir, o.Node = dir, "node2" })
	if got := clock.lookup(other, "10.244.1.2").Workload; got != "_unknown" {
		t.Errorf("another node takes it for %q", got)
	}
}

// TestCacheIsIgnored: addresses of this node's pods do not outlive a reboot; what cannot be read is logged and set aside.
func TestCacheIsIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, _ := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	tell[*discoveryv1.EndpointSlice](t, &k.slices)
	path := filepath.Join(dir, "identities.json")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, pattern, with, want, warning string }{
		{"another boot", `"boot":"[^"]*"`, `"boot":"another"`, "api", ""},
		{"another format", `"version":1`, `"version":99`, "", "format version 99"},
		{"cut off", `(?s)"names".*`, `"na`, "", "are set aside"},
		{"no address", `10\.96\.0\.10`, `10.96.0.300`, "", "are set aside"},
	} {
		changed := regexp.MustCompile(test.pattern).ReplaceAll(content, []byte(test.with))
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		next, clock := source(t, func(o *KubernetesOptions) { o.StateDir, o.Log = dir, slog.New(slog.NewTextHandler(&log, nil)) })
		if id, named, _ := next.owners.at(netip.MustParseAddr("10.244.1.2"), clock.at); named {
			t.Errorf("%s: the pod is %+v", test.name, id)
		}
		if got := clock.lookup(next, "10.96.0.10").Service; got != test.want {
			t.Errorf("%s: the Service is %q, want %q", test.name, got, test.want)
		}
		if !strings.Contains(log.String(), test.warning) || test.warning == "" && log.Len() > 0 {
			t.Errorf("%s: the log has no %q:\n%s", test.name, test.warning, &log)
		}
		// A version that can read it may come back.
		if aside, err := os.ReadFile(path + ".unreadable"); test.warning != "" && (err != nil || string(aside) != string(changed)) {
			t.Errorf("%s: set aside is %s, %v", test.name, aside, err)
		}
	}
}

// TestCacheIsSavedOnce: what has not changed is not written again.
func TestCacheIsSavedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, clock := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	nodes := func() *Nodes {
		return &Nodes{
			addresses: map[netip.Addr]bool{netip.MustParseAddr("192.168.0.2"): true},
			networks:  []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")},
		}
	}
	k.SetNodes(nodes())
	written := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, "identities.json"))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	tell[*discoveryv1.EndpointSlice](t, &k.slices)
	first := written()
	k.owners.expire(clock.at)
	k.SetNodes(nodes())
	k.saveCache(false)
	if !os.SameFile(first, written()) {
		t.Error("written again, though nothing changed")
	}
	if err := k.pods.Add(aPod("new", "node1", "10.244.1.3")); err != nil {
		t.Fatal(err)
	}
	k.saveCache(false)
	next, _ := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	if got := clock.lookup(next, "10.244.1.3").Pod; got != "new" {
		t.Errorf("the new pod is %q", got)
	}
	// What could not be written is tried again.
	k.options.StateDir = filepath.Join(dir, "identities.json", "none")
	if err := k.pods.Add(aPod("late", "node1", "10.244.1.4")); err != nil {
		t.Fatal(err)
	}
	k.saveCache(false)
	k.options.StateDir = dir
	k.saveCache(false)
	next, _ = source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	if got := clock.lookup(next, "10.244.1.4").Pod; got != "late" {
		t.Errorf("the pod that came meanwhile is %q", got)
	}
}

// TestCacheChanges: of a large cluster what has changed is written and not all, whatever happens to the file of changes.
func TestCacheChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base, changes := filepath.Join(dir, "identities.json"), filepath.Join(dir, "identities.changes")
	k, clock := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	slice := aSlice("api", "api-0", "node2", "10.244.2.0")
	for i := range 200 {
		slice.Endpoints = append(slice.Endpoints, aSlice("api", fmt.Sprintf("api-%d", i+1), "node2", fmt.Sprintf("10.244.2.%d", i+1)).Endpoints...)
	}
	tell(t, &k.slices, slice)
	tell(t, &k.services, aService("api", "10.96.0.10"), aService("two", "10.96.0.11", "fd00:96::11"))
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"), aPod("gone", "node1", "10.244.1.3"))
	size := func(path string) int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	names := func(want map[string]string) {
		t.Helper()
		next, _ := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
		for address, name := range want {
			id := clock.lookup(next, address)
			if got := cmp.Or(id.Pod, id.Service, id.Workload); got != name {
				t.Errorf("after a restart %s is %q, want %q", address, got, name)
			}
		}
	}
	written, of := size(base), func() os.FileInfo { info, _ := os.Stat(base); return info }
	first := of()
	names(map[string]string{"10.244.2.0": "api-0", "10.244.2.200": "api-200", "10.96.0.10": "api", "fd00:96::11": "two", "10.244.1.3": "gone"})

	// One pod comes, one ends, one gets another's address.
	for _, err := range []error{k.pods.Delete(aPod("gone", "node1", "10.244.1.3")), k.pods.Add(aPod("new", "node1", "10.244.1.4"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	moved := slice.DeepCopy()
	moved.Endpoints[7].TargetRef.Name, moved.Endpoints[7].TargetRef.UID = "api-next", "next"
	if err := k.slices.Update(moved); err != nil {
		t.Fatal(err)
	}
	clock.at += time.Minute
	k.saveCache(false)
	if !os.SameFile(first, of()) || size(changes) > written/10 {
		t.Errorf("of %d bytes, %d were written for three pods, or all again", written, size(changes))
	}
	want := map[string]string{
		"10.244.2.0": "api-0", "10.244.2.7": "api-next", "10.244.1.2": "web", "10.244.1.3": aggregate.UnknownWorkload, "10.244.1.4": "new", "10.96.0.11": "two",
	}
	names(want)
	content, err := os.ReadFile(changes)
	if err != nil {
		t.Fatal(err)
	}
	// A crash while a line is written, and changes of another file.
	for _, test := range []struct{ content, changed string }{
		{string(content) + `{"address":"10.244.1.2","ra`, "api-next"},
		{strings.Replace(string(content), `"of":"`, `"of":"x`, 1), "api-7"},
		{"", "api-7"},
	} {
		if err := os.WriteFile(changes, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		names(map[string]string{"10.244.2.7": test.changed, "10.244.1.2": "web"})
	}
	if err := os.WriteFile(changes, content, 0o600); err != nil {
		t.Fatal(err)
	}

	// All is written again after many changes, and after one that could not be written.
	for i := range 100 {
		clock.at += time.Minute
		if err := k.pods.Update(aPod("new", "node1", fmt.Sprintf("10.244.1.%d", 10+i))); err != nil {
			t.Fatal(err)
		}
		k.saveCache(false)
		if info, err := os.Stat(changes); err == nil && info.Size() > of().Size()/2 {
			t.Fatalf("%d bytes of changes of %d", info.Size(), of().Size())
		}
	}
	if os.SameFile(first, of()) {
		t.Error("the changes are never brought together with the rest")
	}
	delete(want, "10.244.1.4")
	want["10.244.1.109"], want["10.244.1.108"] = "new", aggregate.UnknownWorkload
	names(want)
	k.options.StateDir = filepath.Join(base, "none")
	if err := k.pods.Add(aPod("late", "node1", "10.244.1.5")); err != nil {
		t.Fatal(err)
	}
	k.saveCache(false)
	k.options.StateDir = dir
	k.saveCache(false)
	want["10.244.1.5"] = "late"
	names(want)
}
