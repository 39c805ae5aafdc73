package aggregate

import (
	"math"
	"testing"

	"tracer/internal/journey"
)

func TestExcess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		spent    float64
		packets  uint64
		baseline float64
		want     float64
	}{{5, 10, 0, 5}, {5, 10, 0.25, 2.5}, {5, 10, 1, 0}} {
		if got := Excess(test.spent, test.packets, test.baseline); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestRTO takes the round trips that TCP knows, at whichever end of the pair is on this node.
func TestRTO(t *testing.T) {
	t.Parallel()
	pair := func(rtt float64) *Pair {
		p := &Pair{TCP: &TCP{}}
		if rtt > 0 {
			p.TCP.RTT.Observe(rtt, 10)
		}
		return p
	}
	for _, test := range []struct {
		name          string
		pair, reverse *Pair
		want          float64
	}{
		{"its own", pair(0.3), pair(0.1), 0.5},
		{"of the way back", pair(0), pair(0.1), 0.3},
		{"none known", pair(0), pair(0), MinRTO},
		{"nothing comes back", &Pair{}, nil, MinRTO},
	} {
		if got := test.pair.RTO(test.reverse); math.Abs(got-test.want) > 0.02 {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if got := (&Flow{TCP: FlowTCP{RTTs: 10, RTTSeconds: 3}}).RTO(); math.Abs(got-0.5) > 1e-9 {
		t.Errorf("a flow: %v", got)
	}
	if got := new(Flow).RTO(); got != MinRTO {
		t.Errorf("a flow without round trips: %v", got)
	}
}

func TestReverse(t *testing.T) {
	t.Parallel()
	k := PairKey{SrcNamespace: "a", SrcWorkload: "web", DstNamespace: "b", DstWorkload: "api", Direction: journey.Out}
	want := PairKey{SrcNamespace: "b", SrcWorkload: "api", DstNamespace: "a", DstWorkload: "web", Direction: journey.In}
	if k.Reverse() != want || want.Reverse() != k {
		t.Errorf("%v and %v", k.Reverse(), want.Reverse())
	}
	if k.Direction = journey.Local; k.Reverse().Direction != journey.Local {
		t.Error("what stays on this node does so both ways")
	}
}
