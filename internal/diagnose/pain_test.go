package diagnose

import (
	"math"
	"slices"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
)

// TestPainOfLoss counts a lost segment as the time after which it is sent again.
func TestPainOfLoss(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"remote-loss", "policy-forward", "uplink-loss"} {
		for _, rtt := range []float64{0.001, 1.8} {
			e := load(t, "testdata/"+file+".json").snapshots()
			for i := range e.to.Counts.Pairs {
				p := &e.to.Counts.Pairs[i]
				if p.TCP == nil {
					p.TCP = &aggregate.TCP{}
				}
				p.TCP.RTT = hist.Histogram{}
				p.TCP.RTT.Observe(rtt, 10)
			}
			found := e.diagnose().Findings
			f := found[slices.IndexFunc(found, func(f Finding) bool { return f.Drops != nil })]
			if want := float64(f.Drops.Packets) * (aggregate.MinRTO + rtt) / e.to.Counts.Window.Seconds(); math.Abs(f.pain-want) > 0.05*want {
				t.Errorf("%s with round trips of %v s: pain %v, want %v", file, rtt, f.pain, want)
			}
		}
	}
}

// TestPainOfAPart counts of a pair's loss only what the finding explains: a full connection table, and a rule beside.
func TestPainOfAPart(t *testing.T) {
	t.Parallel()
	e := load(t, "testdata/conntrack-full.json").snapshots()
	e.to.Stats.Conntrack.Drop -= 60
	found := e.diagnose().Findings
	want := map[Cause]uint64{ConntrackFull: 40, PolicyDrop: 100}
	for _, f := range found {
		if f.Drops.Packets != want[f.Cause] {
			t.Errorf("%s: %d packets, want %d", f.Cause, f.Drops.Packets, want[f.Cause])
		}
		if pain := float64(want[f.Cause]) * aggregate.MinRTO / e.to.Counts.Window.Seconds(); math.Abs(f.pain-pain) > 0.01*pain {
			t.Errorf("%s: pain %v, want %v", f.Cause, f.pain, pain)
		}
		delete(want, f.Cause)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
}
