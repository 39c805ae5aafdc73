package agent

import (
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// passed is a window in which a stage of a pair took so long.
func passed(pair aggregate.PairKey, seconds float64) *aggregate.Snapshot {
	var delay hist.Histogram
	delay.Observe(seconds, 3)
	key := aggregate.StageKey{Stage: journey.Queue, Device: "tunl0", Direction: journey.Out}
	return &aggregate.Snapshot{Pairs: []aggregate.Pair{{PairKey: pair, Stages: []aggregate.StageDelay{{StageKey: key, Delay: delay}}}}}
}

func TestDelayTrends(t *testing.T) {
	t.Parallel()
	web := aggregate.PairKey{SrcWorkload: "web", DstWorkload: "api", Direction: journey.Out}
	other := aggregate.PairKey{SrcWorkload: "other", DstWorkload: "api", Direction: journey.Out}
	var all delayTrends
	if got := all.of(web); len(got) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
	all.add(passed(other, 1))
	all.add(passed(web, 1))
	all.add(&aggregate.Snapshot{})
	all.add(passed(web, 2))
	got := all.of(web)
	if len(got) != 1 || got[0].Device != "tunl0" || len(got[0].P50) != 3 {
		t.Fatalf("%+v", got)
	}
	near := func(p *float64, want float64) bool { return p != nil && *p > want*0.95 && *p < want*1.05 }
	if p := got[0].P50; !near(p[0], 1) || p[1] != nil || !near(p[2], 2) {
		t.Errorf("points %v", p)
	}
	for range trendPoints - 3 { // the ring goes round
		all.add(passed(web, 3))
	}
	if p := all.of(web)[0].P50; len(p) != trendPoints || !near(p[0], 1) || p[1] != nil || !near(p[2], 2) || !near(p[3], 3) || !near(p[trendPoints-1], 3) {
		t.Errorf("after a round %d points, %v", len(p), p)
	}
	if len(all.series) != 1 {
		t.Errorf("%d series are kept, of which one is silent for as long as any goes back", len(all.series))
	}
	all.add(&aggregate.Snapshot{})
	all.add(&aggregate.Snapshot{})
	if p := all.of(web)[0].P50; len(p) != trendPoints || !near(p[0], 2) || p[trendPoints-1] != nil || p[trendPoints-2] != nil || !near(p[trendPoints-3], 3) {
		t.Errorf("after a silence %v", p)
	}
}

// TestLateWindow: where a snapshot failed the window after it is longer, and ends where it ends.
func TestLateWindow(t *testing.T) {
	t.Parallel()
	web := aggregate.PairKey{SrcWorkload: "web", DstWorkload: "api", Direction: journey.Out}
	var all delayTrends
	for _, window := range []time.Duration{snapshotEvery, snapshotEvery - 20*time.Millisecond, 3*snapshotEvery + time.Second, snapshotEvery + time.Second} {
		w := asked(web, 1)
		w.Window = window
		all.add(w)
	}
	calls := all.requestsOf(web)
	for i, want := range []bool{true, true, false, false, true, true} {
		if p := all.of(web)[0].P50; len(p) != 6 || (p[i] != nil) != want || (calls.Client[i] != nil) != want {
			t.Errorf("point %d of %v, %v", i, p, calls.Client)
		}
	}
	late := asked(web, 1)
	late.Window = 10 * trendPoints * snapshotEvery
	all.add(late)
	if p := all.of(web)[0].P50; len(p) != 1 {
		t.Errorf("after an hour %d points", len(p))
	}
}

func TestLengthOfTrends(t *testing.T) {
	t.Parallel()
	if back := trendPoints * snapshotEvery; back < 5*time.Minute {
		t.Errorf("trends go back %v", back)
	}
}
