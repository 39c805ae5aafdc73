package identity

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
	k.saveCache()
	if !os.SameFile(first, written()) {
		t.Error("written again, though nothing changed")
	}
	if err := k.pods.Add(aPod("new", "node1", "10.244.1.3")); err != nil {
		t.Fatal(err)
	}
	k.saveCache()
	if os.SameFile(first, written()) {
		t.Error("a new pod is not written")
	}
	next, _ := source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	if got := clock.lookup(next, "10.244.1.3").Pod; got != "new" {
		t.Errorf("the new pod is %q", got)
	}
	// What could not be written is tried again.
	k.options.StateDir = filepath.Join(dir, "identities.json", "none")
	if err := k.pods.Add(aPod("late", "node1", "10.244.1.4")); err != nil {
		t.Fatal(err)
	}
	k.saveCache()
	k.options.StateDir = dir
	k.saveCache()
	next, _ = source(t, func(o *KubernetesOptions) { o.StateDir = dir })
	if got := clock.lookup(next, "10.244.1.4").Pod; got != "late" {
		t.Errorf("the pod that came meanwhile is %q", got)
	}
}
