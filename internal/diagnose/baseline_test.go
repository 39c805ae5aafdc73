package diagnose

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

var tunnel = aggregate.StageKey{Stage: journey.Queue, Device: "tunl0", Direction: journey.Out}

// learner gives a Baseline minute after minute.
type learner struct {
	Baseline
	now time.Time
}

func (l *learner) minute(p50 float64, packets uint64, found ...Finding) {
	st := aggregate.StageDelay{StageKey: tunnel}
	st.Delay.Observe(p50, packets)
	l.now = l.now.Add(time.Minute)
	l.Learn([]aggregate.StageDelay{st}, found, l.now)
}

// near tells whether what is usual lies within a factor of want.
func (l *learner) near(want, factor float64) bool {
	return math.Abs(math.Log(l.P50()[tunnel]/want)) <= math.Log(factor)
}

func TestBaselineConverges(t *testing.T) {
	t.Parallel()
	l := learner{now: time.Unix(0, 0)}
	l.minute(0.002, 1000) // an unlucky start, a hundred times too slow
	for range knownAfter - 2 {
		l.minute(20e-6, 1000)
	}
	if _, known := l.P50()[tunnel]; known {
		t.Error("known after too few minutes")
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 600 {
		p50 := 20e-6 * math.Exp(0.3*random.NormFloat64())
		if i%10 == 0 {
			p50 = 0.4 // outliers
		}
		l.minute(p50, 1000)
	}
	if !l.near(20e-6, 1.25) {
		t.Errorf("usual is %v after ten hours at 20 µs", l.P50()[tunnel])
	}
	l.minute(1, learnPackets-1)
	if !l.near(20e-6, 1.25) {
		t.Error("a few packets count")
	}
}

func TestBaselineOutlastsFault(t *testing.T) {
	t.Parallel()
	l := learner{now: time.Unix(0, 0)}
	for range 120 {
		l.minute(20e-6, 1000)
	}
	before := l.P50()[tunnel]
	fault := Finding{Stage: journey.Queue, Device: "tunl0"}
	for range 7 * 24 * 60 { // for a week
		l.minute(0.5, 1000, fault)
	}
	if got := l.P50()[tunnel]; got != before {
		t.Errorf("a fault of a week moved the usual from %v to %v", before, got)
	}
	for range 6 * 60 { // and one that nobody has named, for six hours
		l.minute(0.5, 1000)
	}
	if got := l.P50()[tunnel]; got > 1.5*before {
		t.Errorf("six hours moved the usual from %v to %v", before, got)
	}
}

// TestBaselineOfFaultFromStart: a device that has been slow since we look is never usual.
func TestBaselineOfFaultFromStart(t *testing.T) {
	t.Parallel()
	e := load(t, "testdata/overlay-delay-and-loss.json").snapshots()
	var b Baseline
	r := e.diagnose()
	for i := range 100 {
		b.Learn(e.to.Counts.Stages, r.Findings, time.Unix(int64(i)*60, 0))
	}
	if usual, known := b.P50()[tunnel]; known {
		t.Errorf("a queue of %v s is usual", usual)
	}
	if len(b.P50()) == 0 {
		t.Error("nothing else was learnt beside it")
	}
}

func TestBaselineKept(t *testing.T) {
	t.Parallel()
	l := learner{now: time.Unix(0, 0)}
	for range 20 {
		l.minute(20e-6, 1000)
	}
	var again learner
	again.now = l.now
	again.Restore(append(l.Stages(), StageBaseline{P50: -1, StageKey: aggregate.StageKey{Stage: journey.Encap}}, StageBaseline{P50: 1}))
	if len(again.Stages()) != 1 || again.P50()[tunnel] != l.P50()[tunnel] {
		t.Errorf("restored %+v", again.Stages())
	}
	again.Learn(nil, nil, again.now.Add(forgetAfter+time.Hour))
	if len(again.Stages()) != 0 {
		t.Error("what nothing has passed for long is kept")
	}
	for i := range 2 * maxBaseline {
		st := aggregate.StageDelay{StageKey: aggregate.StageKey{Stage: journey.Queue, Device: string(rune('a' + i))}}
		st.Delay.Observe(1, learnPackets)
		again.Learn([]aggregate.StageDelay{st}, nil, again.now)
	}
	if n := len(again.Stages()); n != maxBaseline {
		t.Errorf("%d places are kept", n)
	}
}
