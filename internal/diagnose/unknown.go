package diagnose

import (
	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// unknownCauses are what is left of the losses. A packet in a socket, or at no hook before, is most often one that has
// been dealt with: of those only many make a finding, and never a critical one.
func unknownCauses(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return true })
	return w.explain(lost, func(at aggregate.StageKey, lost []aggregate.DropCount) lossCause {
		c := lossCause{
			cause: UnknownCause, subject: "something that tracer has no name for", warning: 0.01, critical: 0.05, least: 20, certainty: 0.2,
			evidence: []string{"the kernel's reason, or its place, means none of the causes known here"},
			next:     []string{"tracer trace --drops", "perf trace -e skb:kfree_skb --max-events 20", "nstat"},
		}
		if at.Stage == journey.Deliver || at.Stage == journey.Unknown && at.Device == "" {
			c.warning, c.critical = 0.05, 2
		}
		return c
	})
}
