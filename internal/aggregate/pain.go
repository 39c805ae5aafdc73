package aggregate

import "tracer/internal/journey"

// Pain is extra time, in seconds or, of a window, in seconds each second. Findings, pairs and flows are ordered by it,
// everywhere by the same formula: the Excess of the time that packets spend, the time that those in flight have waited (Waited), and for each packet lost the
// time until it is sent again (RTO).

// MinRTO is the least time beyond the round trip after which TCP sends a lost segment again, in seconds (TCP_RTO_MIN in
// include/net/tcp.h). It is taken for other senders that try again, too.
const MinRTO = 0.2

// Excess is how much of the time that packets spent is beyond the baseline, the usual time of one of them, in seconds.
// Without a baseline (0) all of it is.
func Excess(spent float64, packets uint64, baseline float64) float64 {
	return max(0, spent-baseline*float64(packets))
}

// Waited is how long the packets have been in flight, all together, in seconds.
func (h *InFlight) Waited() float64 { return h.Ages.Sum() }

// Waited is how long the pair's packets have been in flight, all together, in seconds. Only the oldest one's age is known: they
// have waited half as long on average, as where packets come and go evenly.
func (h *InFlightPair) Waited() float64 { return h.Packets * h.Oldest / 2 }

// RTO is the time after which a lost packet of the pair is sent again, in seconds: MinRTO beyond the round trips that
// TCP knows (tcp_set_rto). Where the pair's sender is not on this node, the round trips of reverse are taken, the pair of
// what comes back; it may be nil.
func (p *Pair) RTO(reverse *Pair) float64 {
	for _, p := range []*Pair{p, reverse} {
		if p != nil && p.TCP != nil && p.TCP.RTT.Count() > 0 {
			return MinRTO + p.TCP.RTT.Quantile(0.5)
		}
	}
	return MinRTO
}

// RTO is the time after which a lost packet of the flow is sent again, in seconds.
func (f *Flow) RTO() float64 {
	if f.TCP.RTTs == 0 {
		return MinRTO
	}
	return MinRTO + f.TCP.RTTSeconds/float64(f.TCP.RTTs)
}

// Reverse is the pair of what goes the other way, as this node sees it.
func (k PairKey) Reverse() PairKey {
	k.SrcNamespace, k.SrcWorkload, k.DstNamespace, k.DstWorkload = k.DstNamespace, k.DstWorkload, k.SrcNamespace, k.SrcWorkload
	switch k.Direction {
	case journey.Out:
		k.Direction = journey.In
	case journey.In:
		k.Direction = journey.Out
	}
	return k
}
