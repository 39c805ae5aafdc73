package agent

import (
	"math"
	"sync"

	"tracer/internal/aggregate"
	"tracer/internal/overview"
)

// trendPoints is how many points a trend has, at snapshotEvery each: five minutes.
const trendPoints = 60

// delayTrends keep the p50 of each pair's stages, and what became of its requests, over the last minutes, far longer than the history keeps
// snapshots.
type delayTrends struct {
	mu       sync.Mutex
	now      int // the point written last
	series   map[trendKey]*trend
	requests map[aggregate.PairKey]*requestRing
}

type trendKey struct {
	pair  aggregate.PairKey
	place overview.Place
}

// trend is a ring: point i stands at i modulo its length. What lies between last and now is not written yet.
type trend struct {
	p50        [trendPoints]float32
	inRequests uint64 // a bit for each: the stage was then part of the time of requests
	last       int
}

// add writes the point at the end of a window that has just ended, and deletes trends without any point. Of a window that is longer than a
// point, after a snapshot that failed or was late, the points before are left out.
func (t *delayTrends) add(w *aggregate.Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.series == nil {
		t.series = map[trendKey]*trend{}
	}
	t.now += max(1, int((w.Window+snapshotEvery/2)/snapshotEvery))
	for i := range w.Pairs {
		p := &w.Pairs[i]
		for j := range p.Stages {
			d := &p.Stages[j]
			if d.Delay.Count() == 0 {
				continue
			}
			key := trendKey{p.PairKey, overview.Place{Stage: d.Stage, Device: d.Device}}
			s := t.series[key]
			if s == nil {
				s = &trend{last: t.now - trendPoints}
				t.series[key] = s
			}
			s.fill(t.now)
			s.p50[t.now%trendPoints] = float32(d.Delay.Quantile(0.5))
			if overview.InRequests(p, d) {
				s.inRequests |= 1 << (t.now % trendPoints)
			}
		}
	}
	t.addRequests(w)
	for key, s := range t.series {
		if t.now-s.last >= trendPoints {
			delete(t.series, key)
		}
	}
}

// fill marks the points up to now as those of nothing.
func (s *trend) fill(now int) {
	for i := max(s.last+1, now-trendPoints+1); i <= now; i++ {
		at := ((i % trendPoints) + trendPoints) % trendPoints
		s.p50[at] = float32(math.NaN())
		s.inRequests &^= 1 << at
	}
	s.last = now
}

// at is what was written at a point; false if nothing was, or it is not kept any more.
func (s *trend) at(point int) (seconds float64, inRequests, ok bool) {
	if point < 0 || point > s.last || point <= s.last-trendPoints {
		return 0, false, false
	}
	v := float64(s.p50[point%trendPoints])
	return v, s.inRequests&(1<<(point%trendPoints)) != 0, !math.IsNaN(v)
}

// of are the trends of a pair, from the first point at which any of them has something.
func (t *delayTrends) of(pair aggregate.PairKey) []overview.Trend {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []overview.Trend
	first := trendPoints
	for key, s := range t.series {
		if key.pair != pair {
			continue
		}
		points := make([]*float64, trendPoints)
		for i := range points {
			if v, _, ok := s.at(t.now - trendPoints + 1 + i); ok {
				points[i] = &v
				first = min(first, i)
			}
		}
		out = append(out, overview.Trend{Place: key.place, EverySeconds: snapshotEvery.Seconds(), P50: points})
	}
	for i := range out {
		out[i].P50 = out[i].P50[min(first, trendPoints):]
	}
	return out
}
