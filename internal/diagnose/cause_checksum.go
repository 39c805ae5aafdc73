package diagnose

import (
	"slices"

	"tracer/internal/aggregate"
)

// checksumRules find checksum: packets that arrived damaged.
func checksumRules(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		return slices.Contains([]string{"IP_CSUM", "TCP_CSUM", "UDP_CSUM", "ICMP_CSUM", "SKB_CSUM", "CAN_RX_INVALID_FRAME"}, d.Reason)
	})
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossRule {
		r := lossRule{
			cause: Checksum, subject: "a wrong checksum", threshold: checksumThreshold, certainty: 1,
			evidence: []string{"what arrived is not what was sent: packets are damaged on their way, or an offload computes wrong checksums"},
		}
		if n := w.rise("IpExtInCsumErrors"); n > 0 {
			r.evidence = append(r.evidence, "the kernel's IpExtInCsumErrors rose by "+group(n))
		}
		return r
	})
}
