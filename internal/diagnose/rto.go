package diagnose

import "tracer/internal/aggregate"

// rto is the time after which a lost packet of the pair is sent again, in seconds.
func (w *window) rto(p *aggregate.Pair) float64 { return p.RTO(w.back(p)) }

// back is the pair of what comes back to a pair's sender; nil if nothing does.
func (w *window) back(p *aggregate.Pair) *aggregate.Pair {
	if w.byKey == nil {
		w.byKey = make(map[aggregate.PairKey]*aggregate.Pair, len(w.Snapshot.Pairs))
		for i := range w.Snapshot.Pairs {
			w.byKey[w.Snapshot.Pairs[i].PairKey] = &w.Snapshot.Pairs[i]
		}
	}
	return w.byKey[p.Reverse()]
}
