package diagnose

import (
	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// unknownRules find unknown: what is left of the losses. Of what was freed in a socket, or at no hook before, only much makes
// a finding, and never a critical one.
func unknownRules(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return true })
	return w.explain(lost, func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
		r := lossRule{
			cause: UnknownCause, subject: "an unknown cause", threshold: unknownThreshold, certainty: 0.2,
			evidence: []string{"neither the kernel's reason nor the function that freed them means a cause that tracer knows"},
		}
		if at.Stage == journey.Deliver || at.Stage == journey.Unknown && at.Device == "" {
			r.threshold = unknownDeliverThreshold
		}
		return r
	})
}
