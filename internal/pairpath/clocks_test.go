package pairpath

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// exchange is a request that leaves at a time and whose answer comes home after a turn, in seconds; the second node's clock is ahead by offset.
func exchange(number uint64, at, turn, offset float64) (a, b [2]Way) {
	const wire = 50e-6
	left, came := at, at+wire+offset
	answers, home := came+turn, at+2*wire+turn
	nanos := func(s float64) int64 { return int64(math.Round(s * 1e9)) }
	a[0].Left, b[0].Came = []Crossing{{Packet: number, At: nanos(left)}}, []Crossing{{Packet: number, At: nanos(came)}}
	b[1].Left, a[1].Came = []Crossing{{Packet: number + 1, At: nanos(answers)}}, []Crossing{{Packet: number + 1, At: nanos(home)}}
	return a, b
}

// TestSparse has one request before a full second, and its answer behind it.
func TestSparse(t *testing.T) {
	t.Parallel()
	for _, turn := range []float64{0.2, 0.9, 1.5} {
		a, b := exchange(1, 9.9, turn, 7)
		p := Join(onA, onB, []Answer{{Node: "node-a", Half: &Half{There: a[0], Back: a[1]}}, {Node: "node-b", Half: &Half{There: b[0], Back: b[1]}}})
		var text bytes.Buffer
		if err := p.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		w := p.Wire
		if w == nil || (w.RoundTrip != nil) != (turn < maxApart) || (w.Forward == nil) != (w.RoundTrip == nil) || (w.Uncertainty == nil) != (w.RoundTrip == nil) {
			t.Fatalf("turn %v: %+v", turn, w)
		}
		if w.Forward != nil && (math.Abs(*w.Forward-50e-6) > *w.Uncertainty || math.Abs(*w.RoundTrip-100e-6) > *w.RoundTripUncertainty+1e-9) {
			t.Errorf("turn %v: %v ± %v there, %v ± %v both", turn, *w.Forward, *w.Uncertainty, *w.RoundTrip, *w.RoundTripUncertainty)
		}
	}
}

// TestSlewed has a clock that ntpd sets as fast as it does: what is said to be the doubt holds the truth.
func TestSlewed(t *testing.T) {
	t.Parallel()
	for _, drift := range []float64{500e-6, -500e-6} {
		for _, every := range []float64{0.005, 0.1, 0.4} {
			for _, turn := range []float64{1e-3, 0.3} {
				f := fabric{offset: 3, drift: drift, there: 20e-6, back: 80e-6, jitter: 5e-6}
				a, b := f.play(rand.New(rand.NewPCG(1, uint64(every*1e6))), every, turn, 15)
				w := wireBetween("a", "b", [2]Way{a[0], b[0]}, [2]Way{a[1], b[1]})
				if w == nil || w.Forward == nil {
					t.Fatalf("drift %v, every %v: %+v", drift, every, w)
				}
				if math.Abs(*w.Forward-22.5e-6) > *w.Uncertainty+3e-6 || math.Abs(*w.Back-82.5e-6) > *w.Uncertainty+3e-6 {
					t.Errorf("drift %v, every %v, turn %v: there %v, back %v ± %v", drift, every, turn, *w.Forward, *w.Back, *w.Uncertainty)
				}
				if math.Abs(*w.RoundTrip-105e-6) > *w.RoundTripUncertainty+5e-6 {
					t.Errorf("drift %v, every %v, turn %v: both %v ± %v", drift, every, turn, *w.RoundTrip, *w.RoundTripUncertainty)
				}
			}
		}
	}
}

// TestFalseJoins has numbers that are equal for different packets, as the other node followed another of them: no time is negative, and what
// is proven false counts nowhere.
func TestFalseJoins(t *testing.T) {
	t.Parallel()
	second := int64(1e9)
	f := fabric{offset: 3, drift: 40e-6, there: 50e-6, back: 50e-6}
	for name, falsify := range map[string]func(a, b *[2]Way){
		"out, too early": func(_, b *[2]Way) {
			for i := range 5 {
				b[0].Came[10*i+20].At -= 2 * second
			}
		},
		"home, too early": func(a, _ *[2]Way) {
			for i := range 5 {
				a[1].Came[10*i+20].At -= 2 * second
			}
		},
	} {
		a, b := f.play(rand.New(rand.NewPCG(1, 2)), 0.1, 2e-3, 10)
		falsify(&a, &b)
		w := wireBetween("a", "b", [2]Way{a[0], b[0]}, [2]Way{a[1], b[1]})
		if w == nil || w.Forward == nil {
			t.Fatalf("%s: %+v", name, w)
		}
		if w.Joined != w.Followed-5 {
			t.Errorf("%s: %d of %d joined", name, w.Joined, w.Followed)
		}
		if math.Abs(*w.Forward-50e-6) > *w.Uncertainty || *w.Uncertainty > 100e-6 || *w.RoundTripP99 > 150e-6 || *w.RoundTrip < 90e-6 {
			t.Errorf("%s: there %v ± %v, both %v, p99 %v", name, *w.Forward, *w.Uncertainty, *w.RoundTrip, *w.RoundTripP99)
		}
	}
	// One exchange alone, which cannot be.
	a, b := exchange(1, 5, 1e-3, 0)
	b[0].Came[0].At -= second
	if w := wireBetween("a", "b", [2]Way{a[0], b[0]}, [2]Way{a[1], b[1]}); w != nil {
		t.Errorf("impossible: %+v", w)
	}
	// At random: never negative.
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		a, b := f.play(r, 0.2, 2e-3, 4)
		for _, all := range [][]Crossing{b[0].Came, a[1].Came} {
			for i := range all {
				if r.IntN(3) == 0 {
					all[i].At += r.Int64N(4*second) - 2*second
				}
			}
		}
		w := wireBetween("a", "b", [2]Way{a[0], b[0]}, [2]Way{a[1], b[1]})
		if w != nil && w.Forward != nil && min(*w.Forward, *w.Back, *w.Uncertainty, *w.RoundTrip, *w.RoundTripUncertainty) < 0 {
			t.Fatalf("negative: %v %v ± %v; %v ± %v", *w.Forward, *w.Back, *w.Uncertainty, *w.RoundTrip, *w.RoundTripUncertainty)
		}
	}
}
