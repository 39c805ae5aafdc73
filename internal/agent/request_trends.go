package agent

import (
	"tracer/internal/aggregate"
	"tracer/internal/overview"
)

// requestRing is what became of a pair's requests over the last minutes: point i stands at i modulo its length.
type requestRing struct {
	points [trendPoints]requestPoint
	last   int
}

// requestPoint is a point of a requestRing. Its times are p50s in seconds, below 0 where nothing is known.
type requestPoint struct {
	at                    int32 // the point that stands there
	client, server, here  float32
	perSecond, unanswered float32 // of a second
}

// addRequests writes the point of a window that has just ended, and deletes rings without any point.
func (t *delayTrends) addRequests(w *aggregate.Snapshot) {
	for pair, p := range overview.RequestPoints(w) {
		ring := t.requests[pair]
		if ring == nil {
			if t.requests == nil {
				t.requests = map[aggregate.PairKey]*requestRing{}
			}
			ring = &requestRing{}
			t.requests[pair] = ring
		}
		r := p.Requests
		ring.last = t.now
		ring.points[t.now%trendPoints] = requestPoint{
			at: int32(t.now), client: p50Of(r.Client), server: p50Of(r.Server), here: float32(r.Here),
			perSecond: float32(r.PerSecond), unanswered: float32(p.UnansweredPerSecond),
		}
	}
	for pair, ring := range t.requests {
		if t.now-ring.last >= trendPoints {
			delete(t.requests, pair)
		}
	}
}

// p50Of is the p50 of a delay, below 0 if there is none.
func p50Of(d *overview.Delay) float32 {
	if d == nil {
		return -1
	}
	return float32(d.P50)
}

// delayOf is what p50Of was of.
func delayOf(p50 float32) *overview.Delay {
	if p50 < 0 {
		return nil
	}
	return &overview.Delay{P50: float64(p50)}
}

// requestsOf is what became of a pair's requests; nil if it had none.
func (t *delayTrends) requestsOf(pair aggregate.PairKey) *overview.RequestTrend {
	t.mu.Lock()
	defer t.mu.Unlock()
	ring := t.requests[pair]
	if ring == nil {
		return nil
	}
	points := make([]*overview.RequestPoint, trendPoints)
	first := t.now - trendPoints + 1
	for i := range points {
		points[i] = &overview.RequestPoint{}
		p := ring.points[max(0, first+i)%trendPoints]
		if first+i <= 0 || int(p.at) != first+i {
			continue
		}
		points[i].Requests = &overview.Requests{PerSecond: float64(p.perSecond), Client: delayOf(p.client), Server: delayOf(p.server), Here: float64(p.here)}
		points[i].UnansweredPerSecond = float64(p.unanswered)
	}
	back := pair.Reverse()
	for key, s := range t.series {
		if key.pair != pair && key.pair != back {
			continue
		}
		for i := range points {
			if seconds, inRequests, ok := s.at(first + i); ok && inRequests {
				points[i].Stages = append(points[i].Stages, overview.StageTime{Place: key.place, Seconds: seconds})
			}
		}
	}
	return overview.NewRequestTrend(snapshotEvery.Seconds(), points)
}
