package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// remoteRules find remote-delay, remote-loss and mtu: what connections suffer beyond this node, on the wire or at their other
// ends.
func remoteRules(w *window) []Finding {
	pairs := w.connected()
	found := remoteLosses(w, pairs)
	if f := remoteDelay(w, pairs); f != nil {
		found = append(found, *f)
	}
	return found
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
	var out []connected
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if p.TCP == nil || p.Packets == 0 || p.Direction != journey.Out || !inCluster(p.DstNamespace, p.DstWorkload) {
			continue
		}
		out = append(out, connected{Pair: p, reverse: w.reverse(p), under: w.underTunnel(p)})
	}
	return out
}

// inCluster tells pods and nodes from the world and from those that nobody knows.
func inCluster(namespace, workload string) bool {
	return namespace != "" || workload == aggregate.NodeWorkload
}

// residence is how much of a round trip is spent on this node, in seconds: packets in flight count too.
func (c *connected) residence(s *aggregate.Snapshot) float64 {
	sum := c.Path.Quantile(0.5)
	if c.reverse != nil {
		sum += c.reverse.Path.Quantile(0.5)
	}
	for i := range s.InFlight {
		for _, p := range s.InFlight[i].Pairs {
			if s.InFlight[i].Stage.Queues() && (p.PairKey == c.PairKey || c.reverse != nil && p.PairKey == c.reverse.PairKey) {
				sum = max(sum, p.Oldest)
			}
		}
	}
	return sum + c.under.delay
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

// distant is a pair whose round trips take longer than this node and its peer explain.
type distant struct {
	connected
	rtt       *hist.Histogram // what it is judged by
	threshold Threshold
	here      float64 // what this node accounts for, seconds
	beyond    float64 // what is beyond it at least
	pain      float64
}

// distant tells whether a pair is one.
func (w *window) distant(c connected) (d distant, ok bool) {
	d = distant{connected: c, rtt: &c.TCP.RTT, threshold: remoteDelayThreshold, here: c.residence(w.counts)}
	if c.TCP.HandshakeRTT.Count() >= minSamples {
		d.rtt, d.threshold = &c.TCP.HandshakeRTT, handshakeDelayThreshold
	}
	d.beyond = d.rtt.Quantile(leastQuantile) - d.here
	if d.rtt.Count() < minSamples || d.beyond < max(d.threshold.WarnDelay, remoteShare*d.here) {
		return d, false
	}
	d.pain = d.excess(0.5) * float64(max(c.TCP.Delivered, c.TCP.RTT.Count()))
	return d, true
}

// excess is a quantile of what is beyond this node.
func (d *distant) excess(q float64) float64 { return max(d.beyond, d.rtt.Quantile(q)-d.here) }

// remoteDelay is of round trips that take longer than this node and a delayed acknowledgement explain.
func remoteDelay(w *window, pairs []connected) *Finding {
	var slow []distant
	for _, c := range pairs {
		if d, ok := w.distant(c); ok {
			slow = append(slow, d)
		}
	}
	if len(slow) == 0 {
		return nil
	}
	slices.SortStableFunc(slow, func(x, y distant) int { return cmp.Compare(y.pain, x.pain) })
	f := &Finding{Kind: KindDelay, Cause: RemoteDelay, Severity: Warning, subject: w.remoteSubject(), beyond: true}
	hit := make([]*aggregate.Pair, len(slow))
	var rtt hist.Histogram
	for i, d := range slow {
		hit[i] = d.Pair
		rtt.Merge(d.rtt)
		f.pain += d.pain / w.seconds()
	}
	worst := &slow[0]
	p50 := worst.excess(0.5)
	f.Delay = &Delay{P50: &p50, P99: new(worst.excess(0.99)), Share: new(p50 / (p50 + worst.here))}
	if rtt.Count() >= minCritical {
		f.Severity = Critical
	}
	f.Pairs, f.PairsTotal = pairNames(hit)
	f.Confidence = inferredConfidence * confidence(float64(rtt.Count()), float64(rtt.Above(worst.threshold.WarnDelay))/float64(rtt.Count()), w.counts)
	f.predicate = fmt.Sprintf("adds %s to round trips of %s", seconds(p50), listed(f.Pairs, f.PairsTotal))
	f.Evidence = append([]string{
		fmt.Sprintf("TCP's round trips of %s → %s take %s (p50) and %s at least; this node accounts for %s of it",
			f.Pairs[0].Src, f.Pairs[0].Dst, seconds(worst.rtt.Quantile(0.5)), seconds(worst.rtt.Quantile(leastQuantile)), seconds(worst.here)),
		fmt.Sprintf("inferred: the rest is beyond this node; %s from %s: %s", f.Severity, seconds(worst.threshold.WarnDelay), worst.threshold.Reason),
	}, missedEvidence(w.counts)...)
	f.Next = next(RemoteDelay, "PEER", f.Pairs[0].Dst)
	return f
}

// remoteSubject is what is at fault beyond this node, in the summary's sentence.
func (w *window) remoteSubject() string {
	if w.node == "" {
		return "the network or the other node"
	}
	return "the network beyond " + w.node + ", or the other node,"
}

// lossy is a pair whose segments are lost beyond this node.
type lossy struct {
	connected
	lost, segments uint64
	local          uint64 // lost on this node
}

// onlyLarge tells whether only large segments are lost: most of those that were retransmitted had been before, and hardly any
// of them was acknowledged, while others were that are less than half as long.
func (l *lossy) onlyLarge() bool {
	t := l.TCP
	return t.RetransmittedAgain >= minCritical && 2*t.RetransmittedAgain >= t.Retransmitted && recoveredShare*t.Recovered <= t.RetransmittedAgain &&
		t.RetransmittedAgainBytes >= minLargeSegment*t.RetransmittedAgain && t.AckedMeanwhile >= minCritical && 2*l.ackedSize() < l.lostSize()
}

// lostSize and ackedSize are the mean sizes of segments that were retransmitted repeatedly, and of those that were
// acknowledged meanwhile.
func (l *lossy) lostSize() float64 {
	return float64(l.TCP.RetransmittedAgainBytes) / float64(max(1, l.TCP.RetransmittedAgain))
}
func (l *lossy) ackedSize() float64 {
	return float64(l.TCP.AckedMeanwhileBytes) / float64(max(1, l.TCP.AckedMeanwhile))
}

// remoteLosses are retransmissions of what this node has not lost: those of segments that are too large for the way, and
// the others.
func remoteLosses(w *window, pairs []connected) (found []Finding) {
	var large, other []lossy
	for _, c := range pairs {
		l, ok := w.lossy(c)
		if !ok || w.explainsLoss(&l) {
			continue
		}
		if l.onlyLarge() {
			large = append(large, l)
		} else {
			other = append(other, l)
		}
	}
	if len(large) > 0 {
		found = append(found, *blackHole(w, large))
	}
	if len(other) > 0 {
		found = append(found, *remoteLoss(w, other))
	}
	return found
}

// lossy tells whether a pair is one, and how much it loses.
func (w *window) lossy(c connected) (l lossy, ok bool) {
	t := c.TCP
	again := t.Retransmits - min(t.Retransmits, t.Spurious)
	l = lossy{connected: c, segments: max(t.Segments, again)}
	l.local = c.lostHere() + c.under.of(l.segments)
	l.lost = again - min(again, l.local+w.silentRetransmits(c.Pair))
	return l, l.lost >= minSamples && float64(l.lost) >= remoteShare*float64(again) &&
		float64(l.lost) >= remoteLossThreshold.WarnLoss*float64(l.segments)
}

// explainsLoss tells whether what was found at a device of this node explains that a pair loses segments beyond its hooks.
func (w *window) explainsLoss(l *lossy) bool {
	name := Pair{Src: qualified(l.SrcNamespace, l.SrcWorkload), Dst: qualified(l.DstNamespace, l.DstWorkload)}
	return slices.ContainsFunc(w.found, func(f Finding) bool {
		return f.Severity == Critical && (f.Cause == Encryption || f.Device != "" && (f.Cause == MTU && l.onlyLarge() || f.ofCard && !l.onlyLarge())) &&
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
	f := remoteLoss(w, hit)
	worst := &hit[0]
	f.Cause, f.subject = MTU, w.remoteSubject()
	f.predicate = "loses the large segments of " + listed(f.Pairs, f.PairsTotal) + ", and passes small ones"
	f.Evidence = append([]string{fmt.Sprintf("%s of %.0f bytes (mean) were sent again and again, while %s of %.0f bytes were acknowledged",
		plural(worst.TCP.RetransmittedAgain, "segment"), worst.lostSize(), group(worst.TCP.AckedMeanwhile), worst.ackedSize())}, f.Evidence...)
	f.Next = []string{"tracepath -n DESTINATION # in the pod", "ping -c 3 -M do -s 1400 DESTINATION # in the pod; then smaller", "ip -d link show # do the tunnel's and the pods' MTUs fit into the network's?"}
	return f
}

// remoteLoss is of what is lost beyond this node.
func remoteLoss(w *window, hit []lossy) *Finding {
	t := remoteLossThreshold
	f := &Finding{Kind: KindRetransmit, Cause: RemoteLoss, Severity: Warning, subject: w.remoteSubject(), beyond: true}
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
	f.predicate = "loses " + percent(ratio) + " of " + listed(f.Pairs, f.PairsTotal)
	f.Evidence = []string{fmt.Sprintf("%s of %s were lost beyond this node, excluding %s and %s lost on this node",
		group(lost), plural(segments, "segment"), plural(spurious, "spurious retransmission"), group(local))}
	if w.to.DropsUnseen {
		f.Confidence /= 2
		f.Evidence = append(f.Evidence, "drops on this node are not seen (`tracer check` says why): they may have been lost here")
	}
	if answered == 0 {
		f.Evidence = append(f.Evidence, "nothing at all was acknowledged in the window")
		f.subject, f.predicate = "beyond "+cmp.Or(w.node, "this node"), "nothing answers "+listed(f.Pairs, f.PairsTotal)
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("inferred from retransmissions: the segments were lost beyond this node, or their acknowledgements; %s from a loss of %s",
		f.Severity, percent(from)))
	f.Next = next(RemoteLoss, "PEER", f.Pairs[0].Dst)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}
