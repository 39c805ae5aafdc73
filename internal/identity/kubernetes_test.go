package identity

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"tracer/internal/aggregate"
)

// fakeClock is both of a source's clocks, which go alike.
type fakeClock struct{ at time.Duration }

func (c *fakeClock) monotonic() time.Duration { return c.at }
func (c *fakeClock) now() time.Time           { return time.Unix(1_000_000, 0).Add(c.at) }

// source returns one that is told of objects by the test instead of a server.
func source(t testing.TB, change func(*KubernetesOptions)) (*Kubernetes, *fakeClock) {
	t.Helper()
	clock := &fakeClock{at: time.Hour}
	o := KubernetesOptions{
		Config: &rest.Config{Host: "https://127.0.0.1:1"}, Node: "node1", Clock: clock.monotonic, Now: clock.now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&o)
	}
	k, err := NewKubernetes(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range k.informers() {
		w.store = map[objectKey]info{}
	}
	return k, clock
}

// tell hands over a list, as the reflector does.
func tell[T runtime.Object](t testing.TB, w *informer, objects ...T) {
	t.Helper()
	var list []any
	for _, o := range objects {
		list = append(list, w.strip(o))
	}
	if err := w.Replace(list, "1"); err != nil {
		t.Fatal(err)
	}
}

func aPod(name, node string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, HostIPs: []corev1.HostIP{{IP: "192.168.0.1"}}},
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func aService(name string, ips ...string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name)},
		Spec:       corev1.ServiceSpec{ClusterIPs: ips},
	}
}

func aSlice(service, pod, node, ip string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: service + "-" + pod, Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{ip}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod, UID: types.UID("uid-" + pod)},
		}},
	}
}

func (c *fakeClock) lookup(k *Kubernetes, address string) aggregate.Identity {
	return k.Lookup(netip.MustParseAddr(address), c.at)
}

func TestNamesOfANode(t *testing.T) {
	t.Parallel()
	networks, err := parseNetworks([]byte("172.20.0.0/16: databases\n"))
	if err != nil {
		t.Fatal(err)
	}
	k, clock := source(t, func(o *KubernetesOptions) { o.Networks = networks })
	k.SetNodes(&Nodes{addresses: map[netip.Addr]bool{netip.MustParseAddr("192.168.0.2"): true}, networks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}})
	onNode := aPod("exporter", "node1", "192.168.0.1")
	onNode.Spec.HostNetwork = true
	done := aPod("done", "node1", "10.244.1.9")
	done.Status.Phase = corev1.PodSucceeded
	tell(t, &k.pods, aPod("web-1", "node1", "10.244.1.2", "fd00::1:2"), onNode, done, aPod("waiting", "node1"))
	tell(t, &k.services, aService("api", "10.96.0.10", "fd00:96::10"), aService("headless", "None"))
	tell(t, &k.slices,
		aSlice("api", "api-1", "node2", "10.244.2.2"), aSlice("api", "api-2", "node3", "10.244.3.2"),
		aSlice("api-too", "api-2", "node3", "10.244.3.2"), // two Services
		aSlice("exporter", "exporter-2", "node2", "192.168.0.9"),
		aSlice("api", "web-1", "node1", "10.244.1.2")) // known better
	web := aggregate.Identity{Namespace: "shop", Pod: "web-1", Workload: "web-1", Node: "node1", NodeAddress: netip.MustParseAddr("192.168.0.1")}
	for address, want := range map[string]aggregate.Identity{
		"10.244.1.2":        web,
		"::ffff:10.244.1.2": web,
		"fd00::1:2":         web,
		"10.96.0.10":        {Namespace: "shop", Service: "api"},
		"fd00:96::10":       {Namespace: "shop", Service: "api"},
		"10.244.2.2":        {Namespace: "shop", Pod: "api-1", Workload: "api", Node: "node2"},
		"10.244.3.2":        {Namespace: "shop", Pod: "api-2", Node: "node3"},
		"192.168.0.1":       {Workload: "_node", Node: "node1"},
		"192.168.0.2":       {Workload: "_node"},
		"192.168.0.9":       {Workload: "_node", Node: "node2"},
		"172.20.3.4":        {Workload: "databases"},
		"10.244.9.9":        {Workload: "_unknown"}, // a pod elsewhere, for all we know
		"10.244.1.9":        {Workload: "_unknown"}, // its pod has ended
		"8.8.8.8":           {Workload: "_external"},
		"2001:db8::1":       {Workload: "_external"},
		"fe80::1":           {Workload: "_unknown"},
		"224.0.0.251":       {Workload: "_unknown"},
	} {
		if got := clock.lookup(k, address); got != want {
			t.Errorf("%s is %+v, want %+v", address, got, want)
		}
	}
	if got := k.LocalPods(); len(got) != 2 || !slices.Contains(got, netip.MustParseAddr("10.244.1.2")) {
		t.Errorf("local pods are %v", got)
	}
	if n := k.Misses(); n != 0 {
		t.Errorf("%d misses", n)
	}
}

func TestNamesOfACluster(t *testing.T) {
	t.Parallel()
	k, clock := source(t, func(o *KubernetesOptions) { o.Scope = ClusterScope })
	far := aPod("api-1", "node2", "10.244.2.2")
	far.Status.HostIPs[0].IP = "192.168.0.2"
	tell(t, &k.pods, aPod("web-1", "node1", "10.244.1.2"), far)
	for address, want := range map[string]aggregate.Identity{
		"10.244.2.2":  {Namespace: "shop", Pod: "api-1", Workload: "api-1", Node: "node2", NodeAddress: netip.MustParseAddr("192.168.0.2")},
		"192.168.0.2": {Workload: "_node", Node: "node2"},
		"10.244.9.9":  {Workload: "_external"}, // all pods are known
	} {
		if got := clock.lookup(k, address); got != want {
			t.Errorf("%s is %+v, want %+v", address, got, want)
		}
	}
	if got := k.LocalPods(); len(got) != 1 {
		t.Errorf("local pods are %v", got)
	}
}

// TestChanges goes through a pod's life as the watch tells it.
func TestChanges(t *testing.T) {
	t.Parallel()
	k, clock := source(t, nil)
	tell[*corev1.Pod](t, &k.pods)
	expect := func(address, want string) {
		t.Helper()
		if got := clock.lookup(k, address).Workload; got != want {
			t.Errorf("at %v %s is %q, want %q", clock.at, address, got, want)
		}
	}
	event := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		clock.at += time.Second
	}
	p := aPod("web", "node1")
	event(k.pods.Add(p))
	expect("10.244.1.2", "_unknown")
	p = aPod("web", "node1", "10.244.1.2")
	event(k.pods.Update(p))
	expect("10.244.1.2", "web")
	event(k.pods.Update(aPod("web", "node1", "10.244.1.3"))) // another address
	expect("10.244.1.3", "web")
	expect("10.244.1.2", "")
	event(k.pods.Delete(aPod("web", "node1", "10.244.1.3")))
	expect("10.244.1.3", "")
	again := aPod("web", "node1", "10.244.1.3")
	again.UID = "another"
	event(k.pods.Add(again))
	expect("10.244.1.3", "web")
	// It ends by itself, and stays in the API while another one takes the address.
	done := aPod("web", "node1", "10.244.1.3")
	done.UID, done.Status.Phase = "another", corev1.PodFailed
	event(k.pods.Update(done))
	expect("10.244.1.3", "")
	event(k.pods.Add(aPod("next", "node1", "10.244.1.3")))
	expect("10.244.1.3", "next")
	event(k.pods.Delete(done))
	expect("10.244.1.3", "next")
	// Two with one address, both alive: none.
	event(k.pods.Add(aPod("thief", "node1", "10.244.1.3")))
	expect("10.244.1.3", "")
	if n := k.Status().Conflicts; n != 1 {
		t.Errorf("%d conflicts", n)
	}
	event(k.pods.Delete(aPod("thief", "node1", "10.244.1.3")))
	expect("10.244.1.3", "next")
	// The watch broke, and much has happened meanwhile.
	tell(t, &k.pods, aPod("other", "node1", "10.244.1.3"))
	clock.at += time.Second
	expect("10.244.1.3", "other")
	tell(t, &k.services, aService("api", "10.96.0.1"))
	event(k.services.Delete(aService("api", "10.96.0.1")))
	expect("10.96.0.1", "")
	if n := k.Misses(); n == 0 {
		t.Error("no misses, though nobody was named")
	}
}

// TestLateEvents names packets that came before what tells whose they are.
func TestLateEvents(t *testing.T) {
	t.Parallel()
	k, clock := source(t, nil)
	first := aPod("first", "node1", "10.244.1.2")
	tell(t, &k.pods, first)
	at := func(d time.Duration) string {
		return k.Lookup(netip.MustParseAddr("10.244.1.2"), d).Workload
	}
	began := clock.at
	// The first ends at +10 s, the second begins at +12 s; the events come at +20 s, in one go.
	clock.at = began + 20*time.Second
	ended := first.DeepCopy()
	ended.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		StartedAt: metav1.NewTime(clock.now().Add(-time.Hour)), FinishedAt: metav1.NewTime(clock.now().Add(-10 * time.Second)),
	}}}}
	second := aPod("second", "node1", "10.244.1.2")
	second.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{
		StartedAt: metav1.NewTime(clock.now().Add(-8 * time.Second)),
	}}}}
	if err := k.pods.Delete(ended); err != nil {
		t.Fatal(err)
	}
	if err := k.pods.Add(second); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[time.Duration]string{9 * time.Second: "first", 11500 * time.Millisecond: "", 13 * time.Second: "second", 20 * time.Second: "second"} {
		if got := at(began + d); got != want {
			t.Errorf("at +%v it is %q, want %q", d, got, want)
		}
	}
}

func TestManyPodsAtOnce(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	k, clock := source(t, func(o *KubernetesOptions) {
		o.Scope, o.Log = ClusterScope, slog.New(slog.NewTextHandler(&log, nil))
	})
	var pods []*corev1.Pod
	for i := range manyPods + 1 {
		pods = append(pods, aPod(fmt.Sprintf("p%d", i), "node2", fmt.Sprintf("10.244.%d.%d", i>>8, i&255)))
	}
	tell(t, &k.pods, pods...)
	if got := clock.lookup(k, "10.244.39.16").Pod; got != "p10000" {
		t.Errorf("the last is %q", got)
	}
	if !strings.Contains(log.String(), "--identity-scope=node") {
		t.Errorf("no warning in %q", &log)
	}
}

func TestWrongNodeName(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	k, _ := source(t, func(o *KubernetesOptions) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	tell[*corev1.Pod](t, &k.pods)
	if !strings.Contains(log.String(), "Give it with --node-name") {
		t.Errorf("no advice in %q", &log)
	}
}

// TestConcurrentLookups looks up while all changes, for the race detector.
func TestConcurrentLookups(t *testing.T) {
	t.Parallel()
	k, _ := source(t, func(o *KubernetesOptions) { o.Clock = func() time.Duration { return time.Hour } })
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := k.Lookup(netip.MustParseAddr("10.244.1.2"), time.Hour)
				if w := id.Workload; w != "web" && w != "" && w != "_unknown" {
					t.Errorf("it is %q", w)
					return
				}
				k.LocalPods()
			}
		})
	}
	for range 500 {
		if err := k.pods.Add(aPod("web", "node1", "10.244.1.2")); err != nil {
			t.Fatal(err)
		}
		k.DeviceChanged(netip.MustParseAddr("10.244.1.2"), time.Hour)
		if err := k.pods.Delete(aPod("web", "node1", "10.244.1.2")); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
}

func TestKubernetesLookupDoesNotAllocate(t *testing.T) {
	k, clock := source(t, nil)
	tell(t, &k.pods, aPod("web", "node1", "10.244.1.2"))
	tell(t, &k.services, aService("api", "10.96.0.10"))
	tell(t, &k.slices, aSlice("api", "api-1", "node2", "10.244.2.2")) // of which the first look-up makes the name
	for _, s := range []string{"10.244.1.2", "::ffff:10.244.1.2", "10.244.2.2", "10.96.0.10", "10.244.9.9", "2001:db8::1"} {
		address := netip.MustParseAddr(s)
		if n := testing.AllocsPerRun(100, func() { k.Lookup(address, clock.at) }); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

func TestKubernetesVersion(t *testing.T) {
	t.Parallel()
	k, _ := source(t, nil)
	tell(t, &k.pods, aPod("old", "node1", "10.244.1.9"))
	for name, change := range map[string]func(){
		"a pod":    func() { tell(t, &k.pods, aPod("web", "node1", "10.244.1.2")) },
		"a node":   func() { k.SetNodes(&Nodes{}) },
		"a device": func() { k.DeviceChanged(netip.MustParseAddr("10.244.1.9"), time.Hour) },
	} {
		before, _ := k.Version()
		change()
		if after, _ := k.Version(); before == 0 || after <= before {
			t.Errorf("%s: version %d after %d", name, after, before)
		}
	}
}

func BenchmarkKubernetesLookup(b *testing.B) {
	k, clock := source(b, func(o *KubernetesOptions) { o.Scope = ClusterScope })
	var pods []*corev1.Pod
	for i := range 5000 {
		pods = append(pods, aPod(fmt.Sprintf("p%d", i), "node2", fmt.Sprintf("10.244.%d.%d", i>>8, i&255)))
	}
	tell(b, &k.pods, pods...)
	tell(b, &k.services, aService("api", "10.96.0.10"))
	for _, bench := range []struct{ name, address string }{{"pod", "10.244.7.7"}, {"service", "10.96.0.10"}, {"external", "8.8.8.8"}} {
		b.Run(bench.name, func(b *testing.B) {
			address := netip.MustParseAddr(bench.address)
			b.ReportAllocs()
			for b.Loop() {
				k.Lookup(address, clock.at)
			}
		})
	}
}

// TestBandwidth keeps what a pod's annotations let it receive and send.
func TestBandwidth(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{"10M": 10_000_000, "1500k": 1_500_000, "1G": 1_000_000_000, "much": 0, "-1M": 0, "10m": 1, "1Mi": 1 << 20} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{egressBandwidth: text}}}
		if got := bandwidthOf(p, egressBandwidth); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	k, clock := source(t, nil)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "1", Annotations: map[string]string{ingressBandwidth: "10M", egressBandwidth: "20M"}},
		Spec:       corev1.PodSpec{NodeName: "node1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.1", HostIP: "192.168.0.1"},
	}
	tell(t, &k.pods, p)
	if id := k.Lookup(netip.MustParseAddr("10.1.0.1"), clock.at); id.Pod != "web" || id.Bandwidth != 10_000_000 || id.EgressBandwidth != 20_000_000 {
		t.Errorf("%+v", id)
	}
}
