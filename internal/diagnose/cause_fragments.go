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
	found := w.explain(lost, func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
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
	if len(found) == 0 {
		return fragmentsWaiting(w)
	}
	return found
}

// fragmentsWaiting are fragments of which no packet became whole in all the window: they are given up, and lost, only after half
// a minute. Whose they are is known from those that are on their way in forwarding for long.
func fragmentsWaiting(w *window) []Finding {
	came, whole := w.rise("IpReasmReqds")+w.rise("Ip6ReasmReqds"), w.rise("IpReasmOKs")+w.rise("Ip6ReasmOKs")
	if came < minDatagrams || whole > 0 {
		return nil
	}
	f := Finding{
		Kind: KindDrop, Cause: Fragments, Severity: Warning, Stage: journey.Forward, Next: next(Fragments),
		Drops: &Drops{Packets: came, Ratio: new(1.0)}, pain: float64(came) * initialRTO / w.seconds(),
		Confidence: inferredConfidence * confidence(float64(came), 1, w.counts),
	}
	var pairs []*aggregate.Pair
	for i := range w.counts.InFlight {
		in := &w.counts.InFlight[i]
		if in.Stage != journey.Forward || in.Oldest < minInFlightAge {
			continue
		}
		f.Device, f.Direction = in.Device, in.Direction
		for j := range in.Pairs {
			if p := &in.Pairs[j]; p.Oldest >= minInFlightAge && involvesPod(&p.PairKey) {
				pairs = append(pairs, &aggregate.Pair{PairKey: p.PairKey})
			}
		}
	}
	of := "packets"
	if len(pairs) > 0 {
		f.Severity = Critical
		f.Pairs, f.PairsTotal = pairNames(pairs)
		of = listed(f.Pairs, f.PairsTotal)
	}
	f.subject, f.predicate = "reassembly", fmt.Sprintf("waits for fragments of %s that do not come: %s came, and no packet became whole", of, plural(came, "fragment"))
	f.Evidence = []string{
		fmt.Sprintf("the kernel's IpReasmReqds rose by %s (fragments that came), and IpReasmOKs (packets that became whole) did not", group(came)),
		"those that came wait for the others (net.ipv4.ipfrag_time, 30 seconds unless changed): these were lost on their way, as a firewall drops them that goes by ports, which the first fragment alone has",
	}
	return []Finding{f}
}

// fragmentReasons are the kernel's drop reasons of fragments. A duplicate (DUP_FRAG) is no loss.
var fragmentReasons = [...]string{"FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR"}

// isLate tells whether fragments were dropped because others did not come in time.
func isLate(d *aggregate.DropCount) bool {
	return d.Reason == fragmentReasons[0] || unspecified(d.Reason) && journey.ReassemblyTimeout(d.Location)
}
