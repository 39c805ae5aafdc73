package diagnose

import (
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// TestFragmentsWaiting tells of fragments that wait for others, before the kernel gives them up.
func TestFragmentsWaiting(t *testing.T) {
	t.Parallel()
	pairs := []aggregate.InFlightPair{{PairKey: key("default/web", "default/api", journey.In), Packets: 2, Oldest: 0.8}}
	for _, test := range []struct {
		name        string
		came, whole uint64
		pairs       []aggregate.InFlightPair
		want        Severity
	}{
		{"none becomes whole", 28, 0, pairs, Critical},
		{"none becomes whole, whose is not known", 28, 0, nil, Warning},
		{"few", 6, 0, pairs, ""},
		{"some become whole", 28, 5, pairs, ""},
		{"no fragments", 0, 0, pairs, ""},
	} {
		counts := &aggregate.Snapshot{Records: 100}
		if test.pairs != nil {
			at := aggregate.StageKey{Stage: journey.Forward, Device: "vxlan.calico", Direction: journey.In}
			counts.InFlight = []aggregate.InFlight{{StageKey: at, Packets: 2, Oldest: 0.8, Pairs: test.pairs}}
		}
		stats := func(came, whole uint64) record.Stats {
			return record.Stats{Protocols: map[string]uint64{"IpReasmReqds": 10 + came, "IpReasmOKs": 5 + whole}}
		}
		e := &snapshots{
			from: Snapshot{Taken: noon, Stats: stats(0, 0)},
			to:   Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts, Stats: stats(test.came, test.whole)},
		}
		r := e.diagnose()
		switch {
		case test.want == "" && len(r.Findings) == 0:
		case len(r.Findings) != 1 || r.Findings[0].Cause != Fragments || r.Findings[0].Severity != test.want:
			t.Errorf("%s: %+v", test.name, r.Findings)
		}
	}
}
