package overview

import "tracer/internal/aggregate"

// TCP is what the kernel knows of a row's connections at the sending end, if that is on this node.
type TCP struct {
	RTT         *Delay   `json:"rtt"`               // null if no segment was acknowledged, and for flows
	RTTMean     *float64 `json:"rtt_mean_seconds"`  // likewise, but for flows too
	RTTLeast    *float64 `json:"rtt_least_seconds"` // of the window; null as RTT
	Retransmits uint64   `json:"retransmits"`
	PerSecond   float64  `json:"retransmits_per_second"`
	Spurious    *uint64  `json:"spurious"` // retransmissions of what had arrived; null for flows
	Segments    *uint64  `json:"segments"` // sent with data; null for flows
}

// rtt is the mean round trip, below 0 if there is none.
func (t *TCP) rtt() float64 {
	if t == nil || t.RTTMean == nil {
		return -1
	}
	return *t.RTTMean
}

func (t *TCP) perSecond() float64 {
	if t == nil {
		return 0
	}
	return t.PerSecond
}

// tcp is a pair's; nil if nothing is known of its connections as senders.
func (b *builder) tcp(t *aggregate.TCP) *TCP {
	if t == nil || t.RTT.Count() == 0 && t.Segments == 0 && t.Retransmits == 0 {
		return nil
	}
	out := &TCP{
		RTT: newDelay(&t.RTT), Retransmits: t.Retransmits, PerSecond: float64(t.Retransmits) / b.seconds,
		Spurious: &t.Spurious, Segments: &t.Segments,
	}
	if t.RTT.Count() > 0 {
		out.RTTMean, out.RTTLeast = new(t.RTT.Mean()), new(t.RTT.Quantile(0))
	}
	return out
}

// flowTCP is a flow's.
func (b *builder) flowTCP(t *aggregate.FlowTCP) *TCP {
	if t.RTTs == 0 && t.Retransmits == 0 {
		return nil
	}
	out := &TCP{Retransmits: t.Retransmits, PerSecond: float64(t.Retransmits) / b.seconds}
	if t.RTTs > 0 {
		out.RTTMean = new(t.RTTSeconds / float64(t.RTTs))
	}
	return out
}
