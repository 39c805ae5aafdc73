package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// backlogRules find backlog-overflow: packets for which a CPU's backlog had no room (enqueue_to_backlog), or the tunnel's
// own (gro_cells_receive), which is as long.
func backlogRules(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		return d.Reason == "CPU_BACKLOG" || (d.Reason == "" || d.Reason == journey.NotSpecified) &&
			slices.Contains([]string{"enqueue_to_backlog", "netif_rx_internal", "gro_cells_receive"}, journey.FunctionName(d.Location))
	})
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossRule {
		r := lossRule{
			cause: BacklogOverflow, subject: "a CPU's full backlog", threshold: backlogThreshold, certainty: 1,
			evidence: []string{"at most net.core.netdev_max_backlog packets wait there for a softirq: the CPU does not keep up"},
		}
		if s, ok := w.softnet(); ok {
			r.evidence = append(r.evidence, fmt.Sprintf("softnet_stat of the machine: %s dropped, the budget ran out %s",
				packets(s.Dropped), plural(s.TimeSqueeze, "time")))
		}
		if shortage, text := w.cpuShortage(); shortage != noShortage {
			r.evidence = append(r.evidence, text)
		}
		return r
	})
}
