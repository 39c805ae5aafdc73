package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// remoteRules find remote-delay, remote-loss and mtu: what connections suffer beyond this node, on the wire or at their other
// ends. What does not even come out of the pod that sends it is pod-loss.
func remoteRules(w *window) []Finding {
	var limited, others []connected
	for _, c := range w.connected() {
		if c.isAtPeersLimit(w) {
			limited = append(limited, c)
		} else {
			others = append(others, c)
		}
	}
	find := func(pairs []connected) []Finding {
		found := remoteLosses(w, slices.DeleteFunc(slices.Clone(pairs), func(c connected) bool { return slices.Contains(w.podLosses, c.PairKey) }))
		if f := remoteDelay(w, pairs); f != nil {
			found = append(found, *f)
		}
		return found
	}
	return append(find(others), onPurpose(limited, find(limited))...)
}

// connected is a pair whose connections have an end here, from which they send, and the pair of what comes back.
type connected struct {
	*aggregate.Pair
	reverse *aggregate.Pair // nil if nothing did
	under   underTunnel
}

// connected are the pairs whose packets were seen to leave this node for others of the cluster. What the world is like is
// not known: its round trips may be long, and its losses many.
func (w *window) connected() []connected {
	if w.remote != nil {
		return w.remote
	}
	out := []connected{}
	under := w.underTunnels()
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if !leavesForCluster(p) {
			continue
		}
		out = append(out, connected{Pair: p, reverse: w.reverse(p), under: under(p)})
	}
	w.remote = out
	return out
}

// leavesForCluster tells of a pair with connections whether its packets leave this node for another one of the cluster.
func leavesForCluster(p *aggregate.Pair) bool {
	return p.TCP != nil && p.Packets > 0 && p.Direction == journey.Out && inCluster(p.DstNamespace, p.DstWorkload)
}

// inCluster tells pods and nodes from the world and from those that nobody knows.
func inCluster(namespace, workload string) bool {
	return namespace != "" || workload == aggregate.NodeWorkload
}

// residence is a quantile of how much of a round trip is spent on this node, in seconds: packets in flight count too.
func (c *connected) residence(w *window, q float64) float64 {
	sum := c.Path.Quantile(q)
	if c.reverse != nil {
		sum += c.reverse.Path.Quantile(q)
	}
	waiting := w.waitingInQueues()
	return max(sum, waiting[c.Pair], waiting[c.reverse]) + c.under.delay
}

// waitingInQueues is for how long, in seconds, the oldest packet of a pair has been in a queue at the end of the window.
func (w *window) waitingInQueues() map[*aggregate.Pair]float64 {
	if w.waiting != nil {
		return w.waiting
	}
	w.waiting = make(map[*aggregate.Pair]float64)
	for i := range w.counts.InFlight {
		if !w.counts.InFlight[i].Stage.Queues() {
			continue
		}
		for _, in := range w.counts.InFlight[i].Pairs {
			if p := w.pair(in.PairKey); p != nil {
				w.waiting[p] = max(w.waiting[p], in.Oldest)
			}
		}
	}
	return w.waiting
}

// lostHere is how many segments were lost on this node, both ways: a lost acknowledgement may cost a retransmission too.
func (c *connected) lostHere() (n uint64) {
	for _, p := range []*aggregate.Pair{c.Pair, c.reverse} {
		if p == nil {
			continue
		}
		for _, d := range p.Drops {
			if d.Loss {
				n += d.Segments
			}
		}
	}
	return n
}

// lossy is a pair whose segments are lost beyond this node.
type lossy struct {
	connected
	lost, segments uint64 // segments: sent
	local          uint64 // lost on this node
}

// onlyLarge tells whether only large segments are lost: most of those that were retransmitted had been before, and hardly any
// of them was acknowledged, while others were that are less than half as long.
func (l *lossy) onlyLarge() bool {
	t := l.TCP
	return t.RetransmittedAgain >= minCritical && 2*t.RetransmittedAgain >= t.Retransmitted && recoveredShare*t.Recovered <= t.RetransmittedAgain &&
		t.RetransmittedAgainBytes >= minLargeSegment*t.RetransmittedAgain && t.AckedMeanwhile >= minCritical && 2*l.ackedSize() < l.lostSize()
}

// isOver tells of an outage that was there when the window began, and soon ended: until then hardly anything but what was stuck was
// sent, again and again, which came through at last, nothing has been lost since, and none of the pair's conversations waits.
func (w *window) isOver(l *lossy) bool {
	t := l.TCP
	quiet := (w.counts.Clock - t.LastRetransmit).Seconds()
	return quiet >= overShare*w.seconds() && w.seconds()-quiet <= overWithin && l.since() >= overSegments &&
		l.segments-l.since() <= 2*t.Retransmits && t.Recovered > 0 && 2*t.Recovered >= t.Retransmitted-min(t.Retransmitted, t.RetransmittedAgain) &&
		!slices.ContainsFunc(w.counts.Unanswered, func(u aggregate.Unanswered) bool { return u.PairKey == l.PairKey && u.First >= initialRTO })
}

// since is how many segments went out after the last that was lost: a SYN that is sent again is none of those counted.
func (l *lossy) since() uint64 { return min(l.TCP.SinceRetransmit, l.segments-l.lost) }

// lostSize and ackedSize are the mean sizes of segments that were retransmitted repeatedly, and of those that were
// acknowledged meanwhile.
func (l *lossy) lostSize() float64 {
	return float64(l.TCP.RetransmittedAgainBytes) / float64(max(1, l.TCP.RetransmittedAgain))
}
func (l *lossy) ackedSize() float64 {
	return float64(l.TCP.AckedMeanwhileBytes) / float64(max(1, l.TCP.AckedMeanwhile))
}

// remoteLosses are retransmissions of what this node has not lost: those of segments that are too large for the way, those
// of what is over, and the others.
func remoteLosses(w *window, pairs []connected) (found []Finding) {
	var large, over, other []lossy
	for _, c := range pairs {
		l, ok := w.lossy(c)
		if !ok || w.explainsLoss(&l) {
			continue
		}
		switch {
		case w.isOver(&l):
			over = append(over, l)
		case l.onlyLarge():
			large = append(large, l)
		default:
			other = append(other, l)
		}
	}
	if len(large) > 0 {
		found = append(found, *blackHole(w, large))
	}
	if len(other) > 0 {
		found = append(found, *remoteLoss(w, other, false))
	}
	if len(over) > 0 {
		found = append(found, *remoteLoss(w, over, true))
	}
	return found
}

// lossy tells whether a pair is one, and how much it loses.
func (w *window) lossy(c connected) (l lossy, ok bool) {
	t := c.TCP
	again := t.Retransmits - min(t.Retransmits, t.Spurious)
	if again < minSamples {
		return l, false // most pairs: what follows is dear
	}
	l = lossy{connected: c, segments: max(t.Segments, again)}
	l.local = c.lostHere() + c.under.of(l.segments)
	l.local += w.lostInPod(c.Pair, l.local)
	l.lost = again - min(again, l.local+w.silentRetransmits(c.Pair))
	return l, l.lost >= minSamples && float64(l.lost) >= remoteShare*float64(again) &&
		float64(l.lost) >= remoteLossThreshold.WarnLoss*float64(l.segments)
}

// explainsLoss tells whether what was found at a device of this node explains that a pair loses segments beyond its hooks.
func (w *window) explainsLoss(l *lossy) bool {
	name := Pair{Src: qualified(l.SrcNamespace, l.SrcWorkload), Dst: qualified(l.DstNamespace, l.DstWorkload)}
	return slices.ContainsFunc(w.found, func(f Finding) bool {
		switch {
		case f.Severity != Critical:
			return false
		case f.Cause == LinkDown && f.Direction == journey.Out, f.ofCard && f.PairsTotal > 0 && !l.onlyLarge():
			return w.leavesBy(l.Pair, f.Device)
		}
		return (f.Cause == Encryption || f.Device != "" && f.Cause == MTU && l.onlyLarge()) &&
			slices.ContainsFunc(f.Pairs, func(p Pair) bool { return p.Src == name.Src && p.Dst == name.Dst })
	})
}

// silentRetransmits are a pair's retransmissions that no-answer tells of, or of what is refused; all, where nothing of the
// pair is answered.
func (w *window) silentRetransmits(p *aggregate.Pair) (n uint64) {
	for _, u := range w.silent {
		switch {
		case u.PairKey != p.PairKey:
		case p.TCP.Delivered == 0:
			return p.TCP.Retransmits
		default:
			n += u.Retransmits
		}
	}
	return n
}

// blackHole is of a link beyond this node that drops what is too large for it, and says nothing.
func blackHole(w *window, hit []lossy) *Finding {
	f := remoteLoss(w, hit, false)
	worst := &hit[0]
	f.Cause, f.subject = MTU, w.observer()
	f.predicate = fmt.Sprintf("the large segments of %s lost after they %s, while small ones arrive", listed(f.Pairs, f.PairsTotal), w.leaves(worst.Pair))
	f.Evidence = append([]string{fmt.Sprintf("%s of %.0f bytes (mean) were sent again and again, while %s of %.0f bytes were acknowledged",
		plural(worst.TCP.RetransmittedAgain, "segment"), worst.lostSize(), group(worst.TCP.AckedMeanwhile), worst.ackedSize())}, f.Evidence...)
	f.Next = []string{"tracepath -n DESTINATION # in the pod", "ping -c 3 -M do -s 1400 DESTINATION # in the pod: then with smaller sizes", "ip -d link show # do the tunnel's and the pods' MTUs fit into the network's?"}
	return f
}

// remoteLoss is of what is lost beyond this node, or of what was, if that is over.
func remoteLoss(w *window, hit []lossy, over bool) *Finding {
	t := remoteLossThreshold
	f := &Finding{Kind: KindRetransmit, Cause: RemoteLoss, Severity: Warning, subject: w.observer(), beyond: true}
	slices.SortStableFunc(hit, func(x, y lossy) int { return cmp.Compare(y.lost, x.lost) })
	var lost, segments, answered, local, spurious uint64
	pairs := make([]*aggregate.Pair, len(hit))
	for i, l := range hit {
		pairs[i] = l.Pair
		lost += l.lost
		f.pain += float64(l.lost) * w.rto(l.Pair) / w.seconds()
		segments += l.segments
		answered += l.TCP.Delivered
		local += l.local
		spurious += l.TCP.Spurious
	}
	ratio := float64(lost) / float64(segments)
	from := t.WarnLoss
	// A peer that has gone answers nothing: that some tries were in vain is no alarm.
	if !w.to.DropsUnseen && ratio >= t.CriticalLoss && lost >= minCritical && (answered > 0 || lost > maxStrays) {
		f.Severity, from = Critical, t.CriticalLoss
	}
	f.Pairs, f.PairsTotal = pairNames(pairs)
	f.Drops = &Drops{Packets: lost, Ratio: &ratio}
	f.Confidence = inferredConfidence * confidence(float64(lost), float64(lost)/float64(lost+local), w.counts)
	f.predicate = fmt.Sprintf("%s of %s lost after it %s", percent(ratio), listed(f.Pairs, f.PairsTotal), w.leaves(hit[0].Pair))
	f.Evidence = []string{fmt.Sprintf("%s of %s were lost beyond this node; not counted are %s of what had arrived, and %s lost on this node",
		group(lost), plural(segments, "segment"), plural(spurious, "retransmission"), group(local))}
	if w.to.DropsUnseen {
		f.Confidence /= 2
		f.Evidence = append(f.Evidence, "drops on this node are not seen (`tracer check` says why): they may have been lost here")
	}
	judged := fmt.Sprintf("%s from a loss of %s", f.Severity, percent(from))
	if over {
		f.Severity = Info
		f.predicate += ", but none any more"
		judged = fmt.Sprintf("the last %s went without, so it is over", plural(hit[0].since(), "segment"))
	}
	if answered == 0 {
		f.Evidence = append(f.Evidence, "nothing at all was acknowledged in the window")
		f.predicate = fmt.Sprintf("no answer to %s: %s %s, 0 acknowledged", listed(f.Pairs, f.PairsTotal), plural(segments, "segment"), w.leaves(hit[0].Pair))
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("inferred from retransmissions: the segments were lost beyond this node, or their acknowledgements; %s", judged))
	f.Evidence = append(f.Evidence, w.seenHere(hit[0].Pair))
	f.Next = next(RemoteLoss)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}
