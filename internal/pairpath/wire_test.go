package pairpath

import (
	"math"
	"math/rand/v2"
	"testing"
)

// fabric is two nodes with clocks of their own, and what is between them. Times are seconds.
type fabric struct {
	offset, drift float64 // of the second node's clock
	there, back   float64 // the least time each way
	jitter        float64 // on top of it, at random
}

// play has a request every so often for some time, and an answer that follows after a turn. It returns the ways as each node saw them.
func (f *fabric) play(r *rand.Rand, every, turn, length float64) (a, b [2]Way) {
	second := func(t float64) int64 { return int64((f.offset + t*(1+f.drift)) * 1e9) }
	first := func(t float64) int64 { return int64((1e5 + t) * 1e9) }
	n := uint64(0)
	for at := 0.0; at < length; at += every * (0.5 + r.Float64()) {
		n += 2
		arrives := at + f.there + f.jitter*r.Float64()
		leaves := arrives + turn
		home := leaves + f.back + f.jitter*r.Float64()
		a[0].Left = append(a[0].Left, Crossing{Packet: n, At: first(at)})
		b[0].Came = append(b[0].Came, Crossing{Packet: n, At: second(arrives)})
		b[1].Left = append(b[1].Left, Crossing{Packet: n + 1, At: second(leaves)})
		a[1].Came = append(a[1].Came, Crossing{Packet: n + 1, At: first(home)})
	}
	return a, b
}

// TestWire measures what is between nodes whose clocks are apart and drift.
func TestWire(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fabric{
		"idle":            {there: 30e-6, back: 30e-6, jitter: 10e-6},
		"clocks apart":    {offset: 3, drift: 40e-6, there: 30e-6, back: 40e-6, jitter: 10e-6},
		"5 ms there":      {offset: -3, drift: -40e-6, there: 5e-3, back: 40e-6, jitter: 100e-6},
		"5 ms back":       {offset: 86400, drift: 40e-6, there: 40e-6, back: 5e-3, jitter: 100e-6},
		"much jitter":     {offset: 3, drift: 90e-6, there: 1e-3, back: 2e-3, jitter: 3e-3},
		"a second on Mon": {offset: -1e5, drift: 0, there: 0.8, back: 0.1},
	} {
		for _, every := range []float64{0.001, 0.05, 0.3} {
			r := rand.New(rand.NewPCG(1, uint64(every*1e6)))
			a, b := f.play(r, every, 2e-3, 15)
			w := wireBetween("node-a", "node-b", [2]Way{a[0], b[0]}, [2]Way{a[1], b[1]})
			if w == nil || w.RoundTrip == nil || w.Forward == nil {
				t.Fatalf("%s, every %v s: %+v", name, every, w)
			}
			if w.Joined != w.Followed || w.Joined != 2*len(a[0].Left) {
				t.Errorf("%s: joined %d of %d", name, w.Joined, w.Followed)
			}
			sum := f.there + f.back + f.jitter
			if off := math.Abs(*w.RoundTrip - sum); off > *w.RoundTripUncertainty+f.jitter/2 || off > 0.1*sum+f.jitter/2+100e-6 {
				t.Errorf("%s, every %v s: out and back %v ± %v, want %v", name, every, *w.RoundTrip, *w.RoundTripUncertainty, sum)
			}
			for _, each := range []struct{ got, want float64 }{{*w.Forward, f.there + f.jitter/2}, {*w.Back, f.back + f.jitter/2}} {
				if math.Abs(each.got-each.want) > *w.Uncertainty {
					t.Errorf("%s, every %v s: %v ± %v, want %v", name, every, each.got, *w.Uncertainty, each.want)
				}
			}
			if *w.Uncertainty > (f.there+f.back+2*f.jitter)/2+0.2e-3 {
				t.Errorf("%s, every %v s: uncertainty %v", name, every, *w.Uncertainty)
			}
		}
	}
}

// TestFollowed counts only what left while both nodes watched.
func TestFollowed(t *testing.T) {
	t.Parallel()
	left := []Crossing{{Packet: 1, At: 10}, {Packet: 2, At: 20}, {Packet: 3, At: 30}, {Packet: 4, At: 40}, {Packet: 5, At: 50}}
	came := []Crossing{{Packet: 2, At: 25}, {Packet: 4, At: 45}, {Packet: 9, At: 60}}
	if got, followed := transits(&Way{Left: left}, &Way{Came: came}, false); len(got) != 2 || followed.packets != 3 {
		t.Errorf("joined %d of %d, want 2 of 3", len(got), followed.packets)
	}
}

// TestFollowedThere counts only what went to the other node, and of the numbers that it kept.
func TestFollowedThere(t *testing.T) {
	t.Parallel()
	left := []Crossing{{Packet: 1, At: 10, Ends: 7}, {Packet: 2, At: 20, Ends: 8}, {Packet: 3, At: 30, Ends: 7}, {Packet: 4, At: 40, Ends: 8}, {Packet: 5, At: 50, Ends: 7}, {Packet: 6, At: 55, Ends: 7}, {Packet: 9, At: 60, Ends: 7}}
	came := []Crossing{{Packet: 1, At: 15, Ends: 7}, {Packet: 3, At: 35, Ends: 7}, {Packet: 6, At: 65, Ends: 7}}
	if got, followed := transits(&Way{Left: left}, &Way{Came: came, CameTotal: 3}, false); len(got) != 3 || followed.packets != 4 {
		t.Errorf("two nodes: joined %d of %d, want 3 of 4", len(got), followed.packets)
	}
	left[1].Ends, left[3].Ends, left[6].At = 7, 7, 52
	if got, followed := transits(&Way{Left: left}, &Way{Came: came, CameTotal: 30}, false); len(got) != 3 || followed.packets != 6 {
		t.Errorf("not all kept: joined %d of %d, want 3 of 6", len(got), followed.packets)
	}
}

// TestNeverWrong has packets whose number is there twice, some that one node alone followed, and none that go back: no number is made of them.
func TestNeverWrong(t *testing.T) {
	t.Parallel()
	left := []Crossing{{Packet: 1, At: 10}, {Packet: 1, At: 20}, {Packet: 2, At: 30}, {Packet: 3, At: 40}}
	came := []Crossing{{Packet: 1, At: 15}, {Packet: 3, At: 45}, {Packet: 3, At: 55}, {Packet: 4, At: 60}}
	if got, _ := transits(&Way{Left: left}, &Way{Came: came}, false); len(got) != 0 {
		t.Errorf("joined %v", got)
	}
	w := wireBetween("a", "b", [2]Way{{Left: []Crossing{{Packet: 1, At: 10}}}, {Came: []Crossing{{Packet: 1, At: 15}}}}, [2]Way{})
	if w == nil || w.Joined != 1 || w.RoundTrip != nil || w.Forward != nil || w.Uncertainty != nil {
		t.Errorf("one way alone: %+v", w)
	}
	if w := wireBetween("a", "b", [2]Way{{Left: left}, {}}, [2]Way{}); w != nil {
		t.Errorf("nothing on the other node: %+v", w)
	}
	// Too far apart: clocks drift.
	second := int64(1e9)
	w = wireBetween("a", "b", [2]Way{{Left: []Crossing{{Packet: 1, At: 0}}}, {Came: []Crossing{{Packet: 1, At: 5}}}},
		[2]Way{{Came: []Crossing{{Packet: 2, At: 3 * second}}}, {Left: []Crossing{{Packet: 2, At: 3*second - 5}}}})
	if w == nil || w.RoundTrip != nil || w.Joined != 2 {
		t.Errorf("far apart: %+v", w)
	}
}
