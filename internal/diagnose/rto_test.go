package diagnose

import (
	"math"
	"slices"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// TestRTO takes the round trips that TCP knows, at whichever end of the pair it is here.
func TestRTO(t *testing.T) {
	t.Parallel()
	pair := func(src, dst string, direction journey.Direction, rtt float64) aggregate.Pair {
		p := aggregate.Pair{PairKey: key(src, dst, direction)}
		if rtt > 0 {
			p.TCP = &aggregate.TCP{}
			p.TCP.RTT.Observe(rtt, 10)
		}
		return p
	}
	s := &aggregate.Snapshot{Pairs: []aggregate.Pair{
		pair("default/web", "default/api", journey.Out, 0.3), pair("default/api", "default/web", journey.In, 0),
		pair("default/dns", "default/web", journey.Local, 0), pair("default/web", "default/dns", journey.Local, 0.1),
		pair("default/alone", "default/api", journey.Out, 0),
	}}
	w := &window{Input: Input{Snapshot: s}}
	for i, want := range []float64{0.5, 0.5, 0.3, 0.3, 0.2} {
		if got := w.rto(&s.Pairs[i]); math.Abs(got-want) > 0.02 {
			t.Errorf("%v: %v, want %v", s.Pairs[i].PairKey, got, want)
		}
	}
}

// TestPainOfLoss counts a lost segment as the time after which it is sent again.
func TestPainOfLoss(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"remote-loss", "policy-forward", "uplink-loss"} {
		for _, rtt := range []float64{0.001, 1.8} {
			in := load(t, "testdata/"+file+".json").input()
			for i := range in.Snapshot.Pairs {
				p := &in.Snapshot.Pairs[i]
				if p.TCP == nil {
					p.TCP = &aggregate.TCP{}
				}
				p.TCP.RTT = hist.Histogram{}
				p.TCP.RTT.Observe(rtt, 10)
			}
			found := Diagnose(in).Findings
			f := found[slices.IndexFunc(found, func(f Finding) bool { return f.Drops != nil })]
			if want := float64(f.Drops.Packets) * (minRTO + rtt) / in.Window.Seconds(); math.Abs(f.pain-want) > 0.05*want {
				t.Errorf("%s with round trips of %v s: pain %v, want %v", file, rtt, f.pain, want)
			}
		}
	}
}
