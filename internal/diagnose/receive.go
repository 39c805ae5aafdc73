package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// receiveCauses are packets that a CPU did not take in, and those that arrived damaged.
func receiveCauses(w *window) []Finding {
	return append(w.backlogOverflows(), w.checksums()...)
}

// backlogOverflows are packets for which a CPU's backlog had no room (enqueue_to_backlog), or the tunnel's own
// (gro_cells_receive), which is as long.
func (w *window) backlogOverflows() []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		return d.Reason == "CPU_BACKLOG" || (d.Reason == "" || d.Reason == journey.NotSpecified) &&
			slices.Contains([]string{"enqueue_to_backlog", "netif_rx_internal", "gro_cells_receive"}, journey.FunctionName(d.Location))
	})
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossCause {
		c := lossCause{
			cause: BacklogOverflow, subject: "a CPU's full backlog", warning: 0.001, critical: 0.01, certainty: 1,
			evidence: []string{"packets wait there for a CPU's softirq, at most net.core.netdev_max_backlog of them: the CPU does not keep up"},
			next:     []string{"cat /proc/net/softnet_stat", "sysctl net.core.netdev_max_backlog", "mpstat -P ALL 1 3"},
		}
		if s, ok := w.softnet(); ok {
			c.evidence = append(c.evidence, fmt.Sprintf("softnet_stat of the machine: %s dropped, the budget ran out %s",
				packets(s.Dropped), plural(s.TimeSqueeze, "time")))
		}
		return c
	})
}

// checksums are packets that arrived damaged.
func (w *window) checksums() []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		return slices.Contains([]string{"IP_CSUM", "TCP_CSUM", "UDP_CSUM", "ICMP_CSUM", "SKB_CSUM", "CAN_RX_INVALID_FRAME"}, d.Reason)
	})
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossCause {
		c := lossCause{
			cause: Checksum, subject: "a wrong checksum", warning: 0.001, critical: 0.005, certainty: 1,
			evidence: []string{"what arrived is not what was sent: something on the way damages packets, or an offload computes wrong sums"},
			next:     []string{"nstat -az IpExtInCsumErrors TcpInCsumErrors UdpInCsumErrors", "ethtool -S DEVICE", "ethtool -k DEVICE"},
		}
		if n := w.rose("IpExtInCsumErrors"); n > 0 {
			c.evidence = append(c.evidence, "the kernel's IpExtInCsumErrors rose by "+group(n))
		}
		return c
	})
}
