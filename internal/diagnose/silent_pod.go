package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Resets have no answer either. They are shorter than SYNs: of the bytes of an IPv4 packet, 52 at most and 56 at least.
const leastSYN, longerBySix = 56, 20

// silentPods is of pods of this node that answer nothing to what TCP on other nodes sends them, though it reaches their devices and
// no loss is seen. nil if there is none. What senders on this node get is known better: see Unanswered.
func (w *window) silentPods() *Finding {
	var all []*aggregate.Pair
	for i := range w.counts.Pairs {
		if p := &w.counts.Pairs[i]; w.isSilentPod(p) {
			all = append(all, p)
		}
	}
	if len(all) == 0 || w.counts.MissedRecords > 0 || w.to.DropsUnseen || !w.seesPodsSend() || !w.seesTCP() {
		return nil
	}
	slices.SortStableFunc(all, func(x, y *aggregate.Pair) int { return cmp.Compare(y.Packets, x.Packets) })
	f := &Finding{
		Kind: KindDrop, Cause: NoAnswer, Severity: Critical,
		Stage: journey.Deliver, Device: netdev.PodLabel, Direction: journey.In,
	}
	var sum float64
	var ends []netdev.Device
	for _, p := range all {
		sum += p.Packets
		f.pain += p.Packets * w.rto(p) / w.seconds()
		if d := w.device(p.Ends.To); d != nil && !slices.ContainsFunc(ends, func(e netdev.Device) bool { return e.Index == d.Index }) {
			ends = append(ends, *d)
		}
	}
	f.Pairs, f.PairsTotal = pairNames(all)
	f.Drops = &Drops{Packets: uint64(sum), Ratio: new(1.0)}
	f.Confidence = inferredConfidence * confidence(sum, 1, w.counts)
	f.subject, f.predicate = "the pod of "+f.Pairs[0].Dst, fmt.Sprintf("answers nothing to %s: %s (tcp) reached it, 0 back", f.Pairs[0].Src, packets(uint64(sum)))
	for _, p := range all[:min(maxLines, len(all))] {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s → %s at %s (tcp): %s reached the pod's device on this node, and nothing came back from it",
			qualified(p.SrcNamespace, p.SrcWorkload), qualified(p.DstNamespace, p.DstWorkload), p.Ends.Destination, packets(uint64(p.Packets))))
	}
	f.Evidence = append(f.Evidence, "no drop was seen there: the pod may have no route back, or a proxy or a program at its device takes the packets")
	source, six := all[0].Ends.Source.Addr(), ""
	if source.Is6() {
		six = " -6"
	}
	f.Next = inPods(ends, fmt.Sprintf("ip%s route get %v", six, source), "ss -ltnp", "nstat -az IpOutNoRoutes Ip6OutNoRoutes TcpExtListenDrops", "nft -a list ruleset")
	return f
}

// isSilentPod tells whether a pair's are packets from the cluster to a pod of this node of which none is answered or lost.
func (w *window) isSilentPod(p *aggregate.Pair) bool {
	if p.Direction != journey.In || p.TCP != nil || p.Packets < float64(minCritical) || !inCluster(p.SrcNamespace, p.SrcWorkload) || p.DstNamespace == "" || len(p.Drops) > 0 {
		return false
	}
	e := p.Ends
	if e == nil || e.Protocol != record.ProtocolTCP || e.Source.Port() < e.Destination.Port() {
		return false // of the client's alone
	}
	least := float64(leastSYN)
	if e.Source.Addr().Is6() {
		least += longerBySix
	}
	if d := w.device(e.To); d == nil || d.Role != netdev.RolePod || p.Bytes < least*p.Packets {
		return false
	}
	back := p.Reverse()
	if r := w.pair(back); r != nil && (r.Packets > 0 || r.TCP != nil || len(r.Drops) > 0) {
		return false
	}
	if w.hasAnswered(p.PairKey) {
		return false
	}
	for i := range w.counts.InFlight {
		if slices.ContainsFunc(w.counts.InFlight[i].Pairs, func(q aggregate.InFlightPair) bool { return q.PairKey == back || q.PairKey == p.PairKey }) {
			return false
		}
	}
	return w.seconds() >= float64(noAnswerThreshold.CriticalSeconds)
}

// seesTCP tells whether what TCP says of connections is seen.
func (w *window) seesTCP() bool {
	return slices.ContainsFunc(w.counts.Pairs, func(p aggregate.Pair) bool { return p.TCP != nil })
}
