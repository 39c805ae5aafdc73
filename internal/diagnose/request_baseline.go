package diagnose

import (
	"maps"
	"math"
	"slices"
	"time"

	"tracer/internal/aggregate"
)

// RequestBaseline is how long the requests of a pair usually take at the device of the pod that asks: half of those of each minute, learnt as
// a stage's usual p50 is.
type RequestBaseline struct {
	aggregate.PairKey         // without a direction
	P50               float64 `json:"p50_seconds"`
	Slow              uint64  `json:"slow_minutes,omitempty"` // how many of the latest minutes in a row were slow against it
	learnt
}

const (
	// slowForGood is after how many minutes in a row requests that are slow against what is known are learnt anew: another version of who answers is as
	// it is. What was learnt of less than firstMinutes may have been chance: slowAgainstFew do there.
	slowForGood    = 12 * 60
	slowAgainstFew = 60
)

// LearnRequests takes a minute's requests of pods of this node. Where they are slow against what is known they do not count, until
// that has lasted: then they are learnt anew. Where they have become quick, no more than drift lets them.
func (b *Baseline) LearnRequests(pairs []aggregate.Pair, now time.Time) {
	if b.requests == nil {
		b.requests = make(map[aggregate.PairKey]*RequestBaseline)
	}
	_, asked := requestsOf(&aggregate.Snapshot{Pairs: pairs})
	for key, r := range asked {
		if !inCluster(key.SrcNamespace, key.SrcWorkload) || !inCluster(key.DstNamespace, key.DstWorkload) || !isTimed(&r.Client) {
			continue
		}
		p50 := r.Client.Answered.Quantile(0.5)
		if p50 <= 0 {
			continue
		}
		u := b.requests[key]
		if u == nil {
			if len(b.requests) >= maxBaseline {
				continue
			}
			u = &RequestBaseline{PairKey: key, P50: p50}
			b.requests[key] = u
		}
		if u.Minutes >= knownAfter && isSlowRequest(r.Client.Answered.Quantile(leastQuantile), u.P50) {
			u.Slow++
			if u.Slow < slowForGood && (u.Minutes >= firstMinutes || u.Slow < slowAgainstFew) {
				u.Last = now
				continue
			}
			u.learnt = learnt{}
		}
		u.Slow = 0
		u.P50 = u.learn(u.P50, p50, now)
	}
	maps.DeleteFunc(b.requests, func(_ aggregate.PairKey, u *RequestBaseline) bool { return u.isForgotten(now) })
}

// UsualRequests is how long requests usually take (p50), in seconds, of the pairs where that is known: by who asks whom, without a direction.
func (b *Baseline) UsualRequests() map[aggregate.PairKey]float64 {
	known := make(map[aggregate.PairKey]float64, len(b.requests))
	for key, u := range b.requests {
		if u.Minutes >= knownAfter {
			known[key] = u.P50
		}
	}
	return known
}

// Requests is all that was learnt of requests, in order, to be kept for the next start.
func (b *Baseline) Requests() []RequestBaseline {
	requests := make([]RequestBaseline, 0, len(b.requests))
	for _, u := range b.requests {
		kept := *u
		kept.First = slices.Clone(u.First)
		requests = append(requests, kept)
	}
	slices.SortFunc(requests, func(x, y RequestBaseline) int { return x.Compare(y.PairKey) })
	return requests
}

// RestoreRequests takes what was kept. What makes no sense is left out, and what is forgotten by now.
func (b *Baseline) RestoreRequests(requests []RequestBaseline, now time.Time) {
	b.requests = make(map[aggregate.PairKey]*RequestBaseline, len(requests))
	for _, u := range requests {
		if u.P50 > 0 && !math.IsInf(u.P50, 0) && u.SrcWorkload != "" && u.DstWorkload != "" && !u.isForgotten(now) && len(b.requests) < maxBaseline {
			u.PairKey = whoAsks(u.PairKey)
			b.requests[u.PairKey] = &u
		}
	}
}
