package diagnose

import (
	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// minRTO is the least time beyond the round trip after which TCP sends a lost packet again, in seconds (TCP_RTO_MIN in
// include/net/tcp.h). It stands for the patience of others that send again too.
const minRTO = 0.2

// rto is after how long a packet of the pair that was lost is sent again, in seconds: the round trips that TCP knows come
// on top (tcp_set_rto()), those of the way back where it is the other end that is on this node.
func (w *window) rto(p *aggregate.Pair) float64 {
	for _, p := range []*aggregate.Pair{p, w.back(p)} {
		if p != nil && p.TCP != nil && p.TCP.RTT.Count() > 0 {
			return minRTO + p.TCP.RTT.Quantile(0.5)
		}
	}
	return minRTO
}

// back is the pair of what comes back to a pair's sender; nil if nothing does.
func (w *window) back(p *aggregate.Pair) *aggregate.Pair {
	if w.byKey == nil {
		w.byKey = make(map[aggregate.PairKey]*aggregate.Pair, len(w.Snapshot.Pairs))
		for i := range w.Snapshot.Pairs {
			w.byKey[w.Snapshot.Pairs[i].PairKey] = &w.Snapshot.Pairs[i]
		}
	}
	return w.byKey[reversed(p.PairKey)]
}

// reversed is the pair of what goes the other way, as this node sees it.
func reversed(k aggregate.PairKey) aggregate.PairKey {
	k.SrcNamespace, k.SrcWorkload, k.DstNamespace, k.DstWorkload = k.DstNamespace, k.DstWorkload, k.SrcNamespace, k.SrcWorkload
	switch k.Direction {
	case journey.Out:
		k.Direction = journey.In
	case journey.In:
		k.Direction = journey.Out
	}
	return k
}
