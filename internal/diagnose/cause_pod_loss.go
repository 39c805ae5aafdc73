package diagnose

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// podLossRules find pod-loss: what TCP in a pod sends and what does not come out of the pod, without a drop that is seen. It must not
// be looked for beyond this node.
func podLossRules(w *window) []Finding {
	var all []podLossy
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if p.TCP == nil || p.TCP.Retransmits < minSamples || p.Direction == journey.In {
			continue
		}
		c := connected{Pair: p, reverse: w.reverse(p)}
		local := c.lostHere()
		again := p.TCP.Retransmits - min(p.TCP.Retransmits, p.TCP.Spurious)
		// Most of what is sent again must be explained by it.
		if missing := w.lostInPod(p, local); missing > 0 && again > local && 2*missing >= again-local {
			all = append(all, podLossy{p, missing, max(p.TCP.Segments, p.TCP.Retransmits)})
			w.podLosses = append(w.podLosses, p.PairKey)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return []Finding{podLoss(w, all)}
}

// podLossy is a pair whose segments are lost in the pod that sends them.
type podLossy struct {
	*aggregate.Pair
	missing, sent uint64
}

// podLoss is of pairs whose segments are lost in the pod.
func podLoss(w *window, all []podLossy) Finding {
	slices.SortStableFunc(all, func(x, y podLossy) int { return cmp.Compare(y.missing, x.missing) })
	f := Finding{
		Kind: KindRetransmit, Cause: PodLoss, Severity: Warning,
		Stage: journey.PodQueue, Device: (*netdev.PodEnd)(nil).Label(), Direction: journey.Out,
	}
	pairs := make([]*aggregate.Pair, len(all))
	var missing, sent uint64
	for i, p := range all {
		pairs[i] = p.Pair
		missing += p.missing
		sent += p.sent
		f.pain += float64(p.missing) * w.rto(p.Pair) / w.seconds()
	}
	ratio := float64(missing) / float64(sent)
	if missing > maxStrays && ratio >= remoteLossThreshold.CriticalLoss {
		f.Severity = Critical
	}
	f.Pairs, f.PairsTotal = pairNames(pairs)
	share := "at least " + percent(ratio)
	if missing == sent {
		share = "all"
	}
	f.Drops = &Drops{Packets: missing, Ratio: &ratio}
	f.Confidence = inferredConfidence * confidence(float64(missing), 1, w.counts)
	f.subject, f.predicate = "the pod of "+f.Pairs[0].Src, fmt.Sprintf("loses %s of %s before it leaves the pod", share, listed(f.Pairs, f.PairsTotal))
	f.Evidence = append([]string{
		fmt.Sprintf("TCP in the pod sent %s, and at most %s reached the pod's device on this node: %s never came out of the pod",
			plural(sent, "segment"), group(sent-missing), group(missing)),
		"no drop of the kernel's was seen there: a rule or queue in the pod, a program at its device, or a proxy that takes the packets",
	}, missedEvidence(w.counts)...)
	f.Next = next(PodLoss)
	return f
}

// lostInPod tells how many of the segments that a pair's sender has sent never came out of the pod, at least: TCP counts them, and
// the hook at the pod's device saw fewer.
func (w *window) lostInPod(p *aggregate.Pair, lostHere uint64) uint64 {
	if p.SrcNamespace == "" || p.DstWorkload == aggregate.NodeWorkload || w.counts.MissedRecords > 0 || !w.seesPodsSend() {
		return 0 // what a node's own sockets get is not seen to its end
	}
	for i := range w.counts.InFlight {
		for _, in := range w.counts.InFlight[i].Pairs {
			if in.PairKey == p.PairKey {
				lostHere += uint64(in.Packets) // or may be
			}
		}
	}
	sent, seen := max(p.TCP.Segments, p.TCP.Retransmits), uint64(p.Packets)+lostHere
	missing := max(sent-min(sent, seen), copiesMissing(p, lostHere))
	switch {
	case missing < minSamples || float64(missing) < minMissing*float64(sent) || float64(missing) < w.chanceOfPods():
		return 0
	case float64(seen) < (1-minMissing)*float64(p.TCP.Delivered):
		return 0 // they came out: what was acknowledged is missing too
	}
	return missing
}

// leastHeaders are the bytes of an IPv4 and a TCP header without options: where there are more, more counts as seen.
const leastHeaders = 40

// copiesMissing goes by bytes, as bare acknowledgements are among the packets that were seen, and have none. What was sent twice
// and came out of the pod twice makes more bytes than were acknowledged.
func copiesMissing(p *aggregate.Pair, lostHere uint64) uint64 {
	t := p.TCP
	if t.Retransmitted < minSamples || t.AckedBytes == 0 || t.Delivered == 0 {
		return 0
	}
	// What is sent again at once may be several segments, and small ones among large ones.
	size := min(float64(t.RetransmittedBytes)/float64(t.Retransmitted), float64(t.AckedBytes)/float64(t.Delivered))
	seen := p.Bytes - leastHeaders*float64(p.Passed())
	if seen < (1-minMissing)*float64(t.AckedBytes) {
		return 0 // not all that came out was seen
	}
	copies := uint64(max(0, seen-float64(t.AckedBytes))/size) + lostHere
	again := t.Retransmits - min(t.Retransmits, t.Spurious)
	again = min(again, t.Segments-min(t.Segments, t.Delivered)) // a SYN has no data
	return again - min(again, copies)
}

// chanceOfPods is how many segments of those that pods send may be missing by chance, as packets are sampled.
func (w *window) chanceOfPods() float64 {
	before := byHook(w.from.Coverage)
	for i := range w.to.Coverage {
		now := &w.to.Coverage[i]
		if now.Role != netdev.RolePod || now.Hook != record.Ingress {
			continue
		}
		var then record.Coverage
		if b := before[hookKey{now.Device, now.Hook}]; b != nil {
			then = b.Before
		}
		packets, segments := rise(now.After.Packets, then.Packets), rise(now.After.Segments, then.Segments)
		return coverageSigmas * math.Sqrt(float64(rise(now.After.Variance, then.Variance))) * float64(max(1, segments)) / float64(max(1, packets))
	}
	return 0
}

// minMissing is the least share of what TCP sent that is taken for missing: its counts and ours are of windows that differ a
// little, and sampled packets are counted by chance.
const minMissing = 0.1

// seesPodsSend tells whether all that pods send is seen to its end, as far as is known.
func (w *window) seesPodsSend() bool {
	return !slices.ContainsFunc(w.coverage, func(c Coverage) bool {
		return c.Device == "" || c.Device == netdev.PodLabel && c.Direction == journey.Out && c.Low()
	})
}
