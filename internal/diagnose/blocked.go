package diagnose

import (
	"fmt"

	"tracer/internal/aggregate"
)

// blockedOf are the conversations of the pairs that lost packets of which all was lost for seconds, so much that it is no stray: one
// port of a pod may be closed to another while the two exchange much by others, which no share of the pair's packets shows.
func (w *window) blockedOf(hits []hit) (out []aggregate.Blocked) {
	for _, b := range w.counts.Blocked {
		lasting := b.First-b.Last >= float64(noAnswerThreshold.CriticalSeconds) && b.Last <= backoff*(b.First-b.Last)+initialRTO
		if !lasting || b.Packets <= maxStrays || b.Last > w.seconds() {
			continue
		}
		for i := range hits {
			h := &hits[i]
			same := h.SrcNamespace == b.SrcNamespace && h.SrcWorkload == b.SrcWorkload && h.DstNamespace == b.DstNamespace && h.DstWorkload == b.DstWorkload
			if same && h.involvesPod() && 2*float64(h.lost) >= float64(b.Packets)*min(1, w.seconds()/b.First) { // and not of another loss
				out = append(out, b)
				break
			}
		}
	}
	return out
}

// describeBlocked names a conversation.
func describeBlocked(b *aggregate.Blocked) string {
	to := b.Destination.String()
	if b.Destination.Port() == 0 {
		to = b.Destination.Addr().String()
	}
	return fmt.Sprintf("%s → %s at %s (%v)", qualified(b.SrcNamespace, b.SrcWorkload), qualified(b.DstNamespace, b.DstWorkload), to, b.Protocol)
}
