package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// fragmentsRules find fragments: packets of which not all fragments came in time, or that there was no memory to put together.
func fragmentsRules(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		return slices.Contains(fragmentReasons[:], d.Reason) || unspecified(d.Reason) && journey.Reassembles(d.Location)
	})
	return w.explain(lost, func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
		r := lossRule{cause: Fragments, subject: "reassembly of fragments", threshold: fragmentsThreshold, certainty: 1}
		var late, refused uint64
		for _, d := range lost {
			if isLate(&d) {
				late += d.Packets
			} else {
				refused += d.Packets
			}
		}
		if late > 0 {
			r.evidence = append(r.evidence, fmt.Sprintf("%s waited for others of the same packet that did not come in time (net.ipv4.ipfrag_time, net.ipv6.ip6frag_time): those were lost on their way, as a firewall drops them that goes by ports, which the first fragment alone has",
				plural(late, "fragment")))
		}
		if refused > 0 {
			r.evidence = append(r.evidence, fmt.Sprintf("%s were not taken: no memory (net.ipv4.ipfrag_high_thresh, net.ipv6.ip6frag_high_thresh), too many others in between (net.ipv4.ipfrag_max_dist), or not fitting to the others",
				plural(refused, "fragment")))
		}
		if isInPod(at.Device) || at.Stage == journey.Deliver { // the counters that are read are the node's
			r.subject = "reassembly of fragments in the pod"
			for _, c := range next(Fragments) {
				r.next = append(r.next, c+" # in the pod")
			}
			return r
		}
		for _, c := range []string{"IpReasmFails", "IpReasmTimeout", "Ip6ReasmFails", "Ip6ReasmTimeout"} {
			if n := w.rise(c); n > 0 {
				r.evidence = append(r.evidence, fmt.Sprintf("the kernel's %s rose by %s", c, group(n)))
			}
		}
		return r
	})
}

// fragmentReasons are the kernel's drop reasons of fragments. A duplicate (DUP_FRAG) is no loss.
var fragmentReasons = [...]string{"FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR"}

// isLate tells whether fragments were dropped because others did not come in time.
func isLate(d *aggregate.DropCount) bool {
	return d.Reason == fragmentReasons[0] || unspecified(d.Reason) && journey.ReassemblyTimeout(d.Location)
}
