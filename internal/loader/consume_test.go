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
		if got := c.wanted(step.why, step.changed, step.at); got != step.want {
			t.Errorf("at %v: %v, want %v", step.at, got, step.want)
		}
	}
}

// TestLookAtSplits keeps the hook while it is of use, and attaches it once journeys are lost without it, but not for the few that
// are lost anyway.
func TestLookAtSplits(t *testing.T) {
	t.Parallel()
	features := Features{Tracepoints: allTracepoints()}
	at := func(started, unsampled, noIngress, egress uint64) *Counters {
		return &Counters{Started: started, Unsampled: unsampled, NoIngress: noIngress, Unfinished: map[string]uint64{"egress": egress}}
	}
	for _, test := range []struct {
		name  string
		after *Counters
		want  bool
	}{
		{"none", at(1e6, 0, 0, 0), false},
		{"few", at(20, 0, 0, lostJourneys-1), false},
		{"a small share", at(1e4, 1e4, 50, 49), false},
		{"split", at(1e4, 1e6, 0, 100), true},
		{"copied", at(0, 1000, 100, 0), true},
	} {
		l := &Loader{features: features, consume: consuming{calm: time.Hour}}
		if got := l.LookAtSplits(at(0, 0, 0, 0), test.after); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		if got := l.consume.wanted("", false, Monotonic()); got != test.want {
			t.Errorf("%s: it is wanted afterwards: %v, want %v", test.name, got, test.want)
		}
	}
	if l := (&Loader{}); l.LookAtSplits(at(0, 0, 0, 0), at(1e4, 1e6, 0, 100)) {
		t.Error("a kernel without consume_skb: it is to be attached")
	}
	attached := map[Hook]io.Closer{{Program: "consume", Name: "consume_skb"}: nil}
	for _, test := range []struct {
		name  string
		after Counters
		want  bool
	}{
		{"of no use", Counters{Started: 1e6}, true},
		{"split", Counters{Split: 1}, false},
		{"copied", Counters{Cloned: 1}, false},
	} {
		l := &Loader{features: features, attached: attached, consume: consuming{calm: time.Hour}} // the calm time is over
		if got := l.LookAtSplits(&Counters{}, &test.after); got != test.want {
			t.Errorf("attached, %s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestWithoutSplit leaves out only what may have been split unseen.
func TestWithoutSplit(t *testing.T) {
	t.Parallel()
	devices := deviceTable{}
	devices.add(netdev.Device{Index: 1, Root: netdev.Qdisc{Kind: "tbf"}}, 0)
	devices.add(netdev.Device{Index: 2, Root: netdev.Qdisc{Kind: "fq"}}, 0)
	l := &Loader{devices: devices, consume: consuming{since: time.Second}}
	journey := func(ifindex int, hook record.Hook, at time.Duration, segments int) record.Record {
		r := record.Record{Segments: uint32(segments), Len: 1}
		r.Hops[0] = record.Hop{Hook: hook, Ifindex: ifindex, Time: at}
		return r
	}
	kept := []record.Record{
		journey(1, record.Egress, time.Second, 9), journey(1, record.Egress, 0, 1), journey(1, record.Dequeue, 0, 9), journey(2, record.Egress, 0, 9),
	}
	if got := l.withoutSplit(append(slices.Clone(kept), journey(1, record.Egress, 0, 9))); !slices.Equal(got, kept) {
		t.Errorf("%+v, want %+v", got, kept)
	}
}
