package loader

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestPlanConsume plans consume_skb where packets are split behind an egress, says why, and says why not elsewhere.
func TestPlanConsume(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		device netdev.Device
		why    string // part of it; "": not planned
	}{
		{name: "all offloads"},
		{name: "a queue", device: netdev.Device{Root: netdev.Qdisc{Kind: "fq_codel"}}},
		{name: "tbf", device: netdev.Device{Root: netdev.Qdisc{Kind: "tbf"}}, why: "the qdisc of dev7 splits"},
		{name: "a class with cake", device: netdev.Device{Root: netdev.Qdisc{Kind: "htb", Children: []netdev.Qdisc{{Kind: "cake"}}}}, why: "the qdisc of dev7"},
		{name: "netem", device: netdev.Device{Root: netdev.Qdisc{Kind: "netem"}}},
		{name: "netem that corrupts", device: netdev.Device{Root: netdev.Qdisc{Kind: "netem", Corrupt: 0.01}}, why: "the qdisc of dev7"},
		{name: "a queue for each CPU", device: netdev.Device{Root: netdev.Qdisc{Kind: "mq", Children: []netdev.Qdisc{{Kind: "fq"}}}}},
		{name: "one that is not known", device: netdev.Device{Root: netdev.Qdisc{Kind: "mq", Children: []netdev.Qdisc{{Kind: "new"}}}}, why: "the qdisc of dev7"},
		{name: "software GSO", device: netdev.Device{SoftwareGSO: "tx-tcp-segmentation is off"}, why: "in front of dev7: tx-tcp-segmentation is off"},
		{name: "a pod's own queue", device: netdev.Device{PodEnd: &netdev.PodEnd{Queues: true}}, why: "the pod of dev7"},
		{name: "a pod's own tbf", device: netdev.Device{PodEnd: &netdev.PodEnd{Root: netdev.Qdisc{Kind: "tbf"}}}, why: "the pod of dev7"},
		{name: "not traced", device: netdev.Device{Role: netdev.RoleBridge, Root: netdev.Qdisc{Kind: "tbf"}}},
	} {
		test.device.Index, test.device.Name = 7, "dev7"
		if test.device.Role == netdev.RoleOther {
			test.device.Role = netdev.RolePod
		}
		f := Features{Tracepoints: allTracepoints(), TCX: true, DropReasons: true}
		plan, err := PlanHooks(f, []netdev.Device{test.device}, nil)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.Index(plan.Hooks, Hook{Program: "consume", Name: "consume_skb"})
		left := slices.ContainsFunc(plan.Omitted, func(o Omission) bool { return o.Hook == "consume_skb" && o.Unneeded })
		why := plan.Why["consume_skb"]
		if (at >= 0) != (test.why != "") || left == (at >= 0) || !strings.Contains(why, test.why) || why != "" && test.why == "" {
			t.Errorf("%s: planned %v, left out %v, because %q; want %q", test.name, at >= 0, left, why, test.why)
		}
		if device := slices.IndexFunc(plan.Hooks, func(h Hook) bool { return h.Ifindex != 0 }); at > device && device >= 0 {
			t.Errorf("%s: a device's hook comes first, and its packets may be split unseen", test.name)
		}
		if pod := slices.Index(plan.Hooks, Hook{Program: "pod_queue", Name: "net_dev_queue"}); at > pod && pod >= 0 {
			t.Errorf("%s: journeys begin in pods first, and may be split unseen", test.name)
		}
	}
	f := Features{Tracepoints: allTracepoints(), TCX: true, DropReasons: true}
	delete(f.Tracepoints, "consume_skb")
	plan, err := PlanHooks(f, []netdev.Device{{Index: 7, Name: "dev7", Role: netdev.RolePod, Root: netdev.Qdisc{Kind: "tbf"}}}, nil)
	if err != nil || len(plan.Why) != 0 || !strings.Contains(plan.Omitted[0].Reason, "no such tracepoint") {
		t.Errorf("a kernel without it: %+v, %v", plan, err)
	}
}

// TestConsumeWanted keeps the hook for as long as it is needed, and then for a calm time.
func TestConsumeWanted(t *testing.T) {
	t.Parallel()
	c := consuming{calm: time.Minute}
	for _, step := range []struct {
		at      time.Duration
		why     string
		changed bool
		want    bool
	}{
		{at: 100 * time.Second, changed: true, want: true}, // the start
		{at: 159 * time.Second, want: true},
		{at: 160 * time.Second},
		{at: 200 * time.Second, why: "a qdisc", want: true},
		{at: 900 * time.Second, why: "a qdisc", want: true},
		{at: 959 * time.Second, want: true},
		{at: 960 * time.Second},
		{at: 970 * time.Second, changed: true, want: true},
	} {
		c.plan(step.why, step.changed, step.at)
		if got := c.wanted(step.at); got != step.want {
			t.Errorf("at %v: %v, want %v", step.at, got, step.want)
		}
	}
}

// TestLookAtSplits keeps the hook while it is of use, and attaches it once a journey is lost without it.
func TestLookAtSplits(t *testing.T) {
	t.Parallel()
	features := Features{Tracepoints: allTracepoints()}
	at := func(started, unsampled, noIngress, egress uint64) *Counters {
		return &Counters{Started: started, Unsampled: unsampled, NoIngress: noIngress, Unfinished: map[string]uint64{"egress": egress}}
	}
	// What UDP's segmentation by software leaves: the next packet with the sk_buff's address is another one.
	mismatched := func(started, n uint64) *Counters { return &Counters{Started: started, EvictedMismatch: n} }
	for _, test := range []struct {
		name  string
		after *Counters
		want  bool
	}{
		{"none", at(1e6, 0, 0, 0), false},
		{"split", at(1e4, 1e6, 0, 1), true},
		{"split, and its address used again", mismatched(1e4, 1), true},
		{"copied", at(0, 1e6, 1, 0), true},
	} {
		l := &Loader{features: features, consume: consuming{calm: time.Hour}}
		if got := l.LookAtSplits(at(0, 0, 0, 0), test.after); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		if got := l.consume.wanted(Monotonic()); got != test.want {
			t.Errorf("%s: it is wanted afterwards: %v, want %v", test.name, got, test.want)
		}
	}
	if l := (&Loader{}); l.LookAtSplits(at(0, 0, 0, 0), at(1e4, 1e6, 0, 100)) {
		t.Error("a kernel without consume_skb: it is to be attached")
	}
	attached := map[Hook]io.Closer{consumeHook: nil}
	for _, test := range []struct {
		name  string
		after Counters
		want  bool
	}{
		{"of no use", Counters{Started: 1e6}, true},
		{"split", Counters{Split: 1}, false},
		{"copied", Counters{Cloned: 1}, false},
		{"taken by what nobody sees", *mismatched(1e4, 1), false},
	} {
		l := &Loader{features: features, attached: attached, consume: consuming{calm: time.Hour}} // the calm time is over
		if got := l.LookAtSplits(&Counters{}, &test.after); got != test.want {
			t.Errorf("attached, %s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestWithoutSplit leaves out only what may have been split unseen, and attaches the hook where that is in doubt.
func TestWithoutSplit(t *testing.T) {
	t.Parallel()
	const splitting, other, pod = 1, 2, 3
	devices := deviceTable{}
	devices.add(netdev.Device{Index: splitting, Root: netdev.Qdisc{Kind: "tbf"}}, 0)
	devices.add(netdev.Device{Index: other, Root: netdev.Qdisc{Kind: "fq"}}, 0)
	devices.add(netdev.Device{Index: pod, PodEnd: &netdev.PodEnd{Root: netdev.Qdisc{Kind: "tbf"}}}, 0)
	// Times are before now. The hook came three seconds ago, or a minute ago; without it, it went a minute ago.
	const long, lately, young = time.Minute, 3500 * time.Millisecond, 100 * time.Millisecond
	came := func(ago time.Duration, split bool) consuming {
		return consuming{calm: time.Hour, since: Monotonic() - ago, split: split}
	}
	went := consuming{calm: time.Hour, gone: Monotonic() - long}
	for _, test := range []struct {
		name     string
		consume  consuming
		detached bool
		device   int
		hook     record.Hook
		ago      time.Duration // when it came there
		segments uint32
		out      bool // it is left out
		doubt    bool // the hook is wanted because of it
	}{
		{"before the hook, where packets are split", came(3*time.Second, false), false, splitting, record.Egress, lately, 9, true, false},
		{"likewise in a pod", came(3*time.Second, false), false, pod, record.PodQueue, lately, 9, true, false},
		{"behind the hook", came(3*time.Second, false), false, splitting, record.Egress, young, 9, false, false},
		{"a small one", came(3*time.Second, false), false, splitting, record.Egress, lately, 1, false, false},
		{"it has gone on", came(3*time.Second, false), false, splitting, record.Xmit, lately, 9, false, false},
		{"nothing is split: it waits", came(4*time.Second, false), false, other, record.Egress, long, 9, false, false},
		{"not known yet", came(time.Second, false), false, other, record.Egress, lately, 9, true, false},
		{"not known yet, and young", came(time.Millisecond, false), false, other, record.Egress, young, 9, false, false},
		{"in front of a driver that does not split", came(time.Second, true), false, other, record.Dequeue, lately, 9, true, false},
		{"it waits for long, and would be seen", came(2*long, false), false, other, record.Egress, lately, 9, false, true},
		{"no hook, and it waits or is gone", went, true, other, record.Egress, lately, 9, true, true},
		{"no hook, and it may wait", went, true, other, record.Egress, young, 9, false, false},
		{"no hook, and it was there when that went", went, true, other, record.Egress, 2 * long, 9, true, false},
	} {
		l := &Loader{devices: devices, consume: test.consume, features: Features{Tracepoints: allTracepoints()}}
		if !test.detached {
			l.attached = map[Hook]io.Closer{consumeHook: nil}
		}
		r := record.Record{Segments: test.segments, Len: 1}
		r.Hops[0] = record.Hop{Hook: test.hook, Ifindex: test.device, Time: Monotonic() - test.ago}
		if got := len(l.withoutSplit([]record.Record{r})) == 0; got != test.out {
			t.Errorf("%s: left out %v, want %v", test.name, got, test.out)
		}
		if got := l.consume.wanted(Monotonic()); got != test.doubt {
			t.Errorf("%s: the hook is wanted %v, want %v", test.name, got, test.doubt)
		}
	}
	l := &Loader{devices: devices, consume: went, features: Features{Tracepoints: allTracepoints()}, failed: map[Hook]error{consumeHook: io.EOF}}
	r := record.Record{Segments: 9, Len: 1}
	r.Hops[0] = record.Hop{Hook: record.Egress, Ifindex: other, Time: Monotonic() - lately}
	if len(l.withoutSplit([]record.Record{r})) != 1 {
		t.Error("without a hook that can be attached, what waits is left out")
	}
}
