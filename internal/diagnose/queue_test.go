package diagnose

import (
	"slices"
	"strings"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// TestClampToBacklog checks which packets in flight are taken for waiting.
func TestClampToBacklog(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		backlog uint64
		passed  uint64
		want    uint64
		oldest  float64
	}{
		{"as many as the backlog", 50, 10, 40, 40},
		{"only the youngest wait", 10, 10, 10, 10},
		{"none wait", 0, 10, 0, 0},
		{"the qdisc does not say", 0, 0, 40, 40},
	} {
		q := queue{inFlight: 40, oldest: 40, passed: test.passed, devices: []netdev.Device{{
			Root: netdev.Qdisc{Kind: "htb", Children: []netdev.Qdisc{
				{Kind: "htb", Class: true, Children: []netdev.Qdisc{{Kind: "netem", BacklogPackets: test.backlog}}}}},
		}}}
		for i := range 40 {
			q.ages.Observe(float64(i+1), 1)
		}
		q.clampToBacklog()
		if q.inFlight != test.want || q.ages.Count() != test.want ||
			q.oldest < test.oldest || q.oldest > test.oldest*(1+hist.MaxError) {
			t.Errorf("%s: %d in flight, the oldest for %v s; want %d, %v s", test.name, q.inFlight, q.oldest, test.want, test.oldest)
		}
	}
}

// TestInFlightBefore checks that the loss is set against what arrived in the window, not against what waited before.
func TestInFlightBefore(t *testing.T) {
	t.Parallel()
	e := load(t, "testdata/overlay-tbf-growing.json").snapshots()
	e.from.Counts = &aggregate.Snapshot{InFlight: []aggregate.InFlight{{
		StageKey: aggregate.StageKey{Stage: journey.Queue, Device: "vxlan.calico", Direction: journey.Out},
		Packets:  830,
	}}}
	r := e.diagnose()
	f := r.Findings[slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Cause == QdiscDrop })]
	if want := 100.0 / (100 + 30 + 70); *f.Drops.Ratio != want {
		t.Errorf("ratio %v, want %v", *f.Drops.Ratio, want)
	}
}

// TestStoodStill has packets wait for as long as the machine stood still at the window's end: that says nothing of a queue that few left late.
func TestStoodStill(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		age  float64
		late uint64 // of 2,000 that came out
		want uint64
	}{
		{0.3, 0, 0},
		{0.3, 30, 0}, // those that were the last to come out
		{0.3, 400, 60},
		{1.5, 0, 60},
	} {
		q := queue{inFlight: 60, oldest: test.age, passed: 2000, threshold: Threshold{WarnDelay: 0.015, CriticalDelay: 0.02}}
		q.ages.Observe(test.age, 60)
		q.delay.Observe(0.5, test.late)
		q.delay.Observe(1e-5, 2000-test.late)
		if got := q.stuck(windowOf()); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}

// TestOnePacket speaks of a single packet as of one.
func TestOnePacket(t *testing.T) {
	t.Parallel()
	q := queue{inFlight: 1, oldest: 0.3, passed: 2}
	var slow hist.Histogram
	slow.Observe(0.3, 1)
	q.delay.Observe(0.3, 1)
	q.delay.Observe(0.001, 1)
	got := strings.Join(q.delayEvidence(&slow, nil), "; ")
	for _, want := range []string{"1 packet left ", "; 1 packet of other pairs was faster; ", "1 packet waits in the queue, the oldest for 300 ms"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
}
