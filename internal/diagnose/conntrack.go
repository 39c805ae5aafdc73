package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// droppedByHook tells of packets whether a hook of netfilter may have dropped them, which conntrack's are. A rule of nft is told
// apart by newer kernels: nft_do_chain drops for it.
func droppedByHook(d *aggregate.DropCount) bool {
	return journey.FunctionName(d.Location) == "nf_hook_slow" && (d.Reason == "NETFILTER_DROP" || d.Reason == journey.NotSpecified)
}

// conntrackFull takes as many of netfilter's drops as the connection table has counted for want of an entry. Those whose entry
// clashed with another are counted there too, and are no sign of a full table.
func (w *window) conntrackFull() []Finding {
	t, ok := w.conntrack()
	full := t.Drop - min(t.Drop, t.InsertFailed)
	if !ok || full == 0 {
		return nil
	}
	lost := w.losses.takeSome(full, droppedByHook)
	size := fmt.Sprintf("this namespace's table holds %s entries", group(t.Entries))
	if t.Max > 0 {
		size = fmt.Sprintf("this namespace's table holds %s of at most %s entries", group(t.Entries), group(t.Max))
	}
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossRule {
		return lossRule{
			cause: ConntrackFull, subject: "the full connection table", threshold: conntrackThreshold, certainty: 1,
			evidence: []string{fmt.Sprintf("conntrack dropped %s because the table had no free entry and evicted %s early; %s",
				packets(full), plural(t.EarlyDrop, "connection"), size)},
		}
	})
}

// conntrackInsertFailed takes as many of netfilter's drops as the connection table has counted because a new entry clashed with
// one that was there: the answers to both would look the same. It is found out when all rules have let the packet pass, as
// its entry is confirmed.
func (w *window) conntrackInsertFailed() []Finding {
	t, ok := w.conntrack()
	if !ok || t.InsertFailed == 0 {
		return nil
	}
	lost := w.losses.takeSome(t.InsertFailed, droppedByHook)
	// Behind source NAT a packet is nobody's that is known: what its pair loses is told by the others.
	placed := slices.Clone(lost)
	if placed = slices.DeleteFunc(placed, func(d aggregate.DropCount) bool { return d.Stage == journey.Unknown }); len(placed) > 0 {
		lost = placed
	}
	return w.explain(lost, func(_ aggregate.StageKey, lost []aggregate.DropCount) lossRule {
		r := lossRule{
			cause: ConntrackInsertFailed, subject: "a clash in the connection table", threshold: conntrackThreshold, certainty: 1,
			evidence: []string{fmt.Sprintf("conntrack's insert_failed rose by %s: a new connection's entry clashed with another's, and its packet was dropped", group(t.InsertFailed))},
		}
		if n := synsOf(lost); w.lostConnections(n) {
			// A connection that fails is one packet among the many of those that do not.
			r.threshold.WarnLoss, r.threshold.CriticalLoss = 0, 0
			r.evidence = append(r.evidence, fmt.Sprintf("%s of them asked for a connection (SYN)", group(n)))
		}
		r.evidence = append(r.evidence, w.whyClash(lost))
		if w.losses.has(droppedByHook) {
			r.certainty = byFunction
			r.evidence = append(r.evidence, "rules dropped others in the same place, which look the same: whose packets clashed is not certain")
		}
		return r
	})
}

// lostConnections tells whether so many SYNs were lost in the window that it is more than chance: the kernel sends each again.
func (w *window) lostConnections(syns uint64) bool {
	return syns > maxStrays && float64(syns) >= minLostConnections*w.seconds()
}

// whyClash says what entries clash for, by what source NAT was seen to do with the packets of the same pair that passed.
func (w *window) whyClash(lost []aggregate.DropCount) string {
	for _, h := range w.hits(lost) {
		n := h.SourceNAT
		if !n.Address.IsValid() {
			continue
		}
		pair := listed([]Pair{{Src: qualified(h.SrcNamespace, h.SrcWorkload), Dst: qualified(h.DstNamespace, h.DstWorkload)}}, 1)
		ports := uint64(n.High) - uint64(n.Low) + 1
		if ports <= fewPorts {
			return fmt.Sprintf("source NAT let what passed of %s leave as %v with ports %d to %d: a range of %s, each of which holds one connection to the same destination",
				pair, n.Address, n.Low, n.High, plural(ports, "port"))
		}
		return fmt.Sprintf("source NAT let what passed of %s leave as %v with ports %d to %d: two connections got the same port at once, or none is free", pair, n.Address, n.Low, n.High)
	}
	return "no source NAT was seen in what passed of these pairs: packets of one socket were on their way at once (a resolver asks for A and AAAA so), " +
		"and NAT chose for each; or a rule translates sources to so few ports that none passed"
}

// synsOf is how many of some packets asked for a connection.
func synsOf(lost []aggregate.DropCount) (n uint64) {
	for _, d := range lost {
		n += d.SYNs
	}
	return n
}
