package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/netdev"
)

// distant are a pair's round trips to one node that take longer than this node and what is usual explain.
type distant struct {
	connected
	node      string          // "" where the pair's other ends are not told apart
	rtt       *hist.Histogram // what it is judged by
	threshold Threshold
	here      float64  // what this node accounts for, seconds
	most      float64  // nearly the most that it may account for, seconds: TCP measures those few packets that meet a growing queue at its longest
	longest   float64  // that distance explains where nothing was learnt, seconds
	usual     *float64 // the round trip that is usual to that node, seconds; nil if it was not learnt
	expected  float64  // what distance explains, seconds: the usual, or the least that was seen
	far       bool     // without a usual: it takes longer than any distance within a cluster
	little    bool     // by less than a fault is
	pain      float64
}

// distant tells of a pair's round trips to each node whether they take too long.
func (w *window) distant(c connected) (slow []distant) {
	peers := c.TCP.Peers
	var known uint64
	for i := range peers {
		known += peers[i].RTT.Count()
	}
	if 2*known < c.TCP.RTT.Count() || known == 0 { // of most it is not known where they lead
		peers = []aggregate.PeerRTT{{RTT: c.TCP.RTT, HandshakeRTT: c.TCP.HandshakeRTT}}
	}
	for i := range peers {
		p := &peers[i]
		d := distant{connected: c, node: p.Node, rtt: &p.RTT, threshold: remoteDelayThreshold}
		handshakes := p.HandshakeRTT.Count() >= minSamples
		if handshakes {
			d.rtt, d.threshold = &p.HandshakeRTT, handshakeDelayThreshold
		}
		usual, known := w.to.PeerRTT[PeerKey{p.Node, handshakes}]
		mayBeLittle, from := false, d.threshold.WarnDelay
		if known && p.Node != "" {
			d.usual = &usual
			if mayBeLittle = handshakes; mayBeLittle {
				from = usualHandshakeThreshold.WarnDelay
			}
		}
		if d.rtt.Count() < minSamples || d.rtt.Quantile(0.5) < from {
			continue // whatever is usual, and however much of it is here: most pairs
		}
		d.here, d.most = c.residence(w, 0.5), c.residence(w, residenceQuantile)
		d.longest = longestRoundTrip(handshakes)
		if d.isSlow() || mayBeLittle && w.isLittleSlower(&d) {
			d.pain = d.excess(0.5) * float64(max(c.TCP.Delivered, c.TCP.RTT.Count())) * float64(d.rtt.Count()) / float64(max(1, c.TCP.RTT.Count()))
			slow = append(slow, d)
		}
	}
	if len(slow) > 0 && w.waitsUnseen(c.Pair) {
		return nil
	}
	return slow
}

// waitsUnseen tells of a pair that pods of this node send whether its packets, or what comes back, may have waited for most of a round trip
// where no hook sees it: at the pod's device, or at the uplink, behind the last hook.
func (w *window) waitsUnseen(p *aggregate.Pair) bool {
	return slices.ContainsFunc(w.to.Devices, func(d netdev.Device) bool {
		ofPair := p.Ends != nil && p.Ends.From == d.Index || d.Workload == qualified(p.SrcNamespace, p.SrcWorkload)
		if !d.EgressUnseen || !(d.Role == netdev.RolePod && ofPair || d.Role == netdev.RoleUplink && d.Leaves) || !w.isUnhooked(&d) {
			return false
		}
		held := w.mayHaveHeld(&d)
		return held > 0 && 2*held >= w.sent(&d) // else most had not to wait
	})
}

// longestRoundTrip is the longest that distance explains within a cluster, in seconds: of handshakes, or of what may wait for a delayed
// acknowledgement.
func longestRoundTrip(handshakes bool) float64 {
	if handshakes {
		return farDelay
	}
	return farDelay + delayedAck
}

// isSlow compares the round trips with what is usual: nearly all of them have to be longer. Where that is not known a constant delay
// may be the distance, as long as it is not longer than sites of a cluster are apart, and what varies is compared with the least.
func (d *distant) isSlow() bool {
	least := d.rtt.Quantile(leastQuantile)
	if d.usual != nil {
		d.expected = *d.usual
		return least-d.most-d.expected >= max(d.threshold.WarnDelay, usualShare*d.expected, remoteShare*d.most)
	}
	if d.far = least-d.most >= max(d.longest, remoteShare*d.most); d.far {
		return true
	}
	d.expected = least
	return d.rtt.Quantile(0.5)-d.most-least >= max(growthFactor*d.threshold.WarnDelay, least, remoteShare*d.most)
}

// isLittleSlower tells of handshakes whether they take a few milliseconds longer than is usual to that node and of this pair. What is usual
// to a node is that of the pair that is answered soonest. Another one may always take longer, and the clients of a pod may let it wait for
// the ACK that it takes (TCP_DEFER_ACCEPT): so it takes handshakes that the pod opened, of a pair that is known. So little may also pass
// between the card and its hook where a CPU has no time.
func (w *window) isLittleSlower(d *distant) bool {
	d.threshold, d.little = usualHandshakeThreshold, true
	if d.rtt.Count() < minCritical || !w.opens(d.Pair) || !d.isSlow() {
		return false
	}
	own, known := w.leastBefore(d)
	if shortage, _ := w.cpuShortage(); !known || shortage != noShortage {
		return false
	}
	usual := max(*d.usual, own)
	d.usual = &usual
	return d.isSlow()
}

// leastBefore is the shortest handshake, in seconds, that the pair had with that node before the window; false if that is not known.
func (w *window) leastBefore(d *distant) (least float64, known bool) {
	if w.from.Counts == nil {
		return 0, false
	}
	pairs := w.from.Counts.Pairs
	for i := range pairs {
		if pairs[i].TCP == nil || pairs[i].PairKey != d.PairKey {
			continue
		}
		for _, peer := range pairs[i].TCP.Peers {
			if peer.Node == d.node && peer.HandshakeRTT.Count() >= minCritical {
				return peer.HandshakeRTT.Quantile(leastQuantile), true
			}
		}
	}
	return 0, false
}

// opens tells whether all connections of a pair that were opened in the window were opened by its first workload, a pod of this node.
func (w *window) opens(p *aggregate.Pair) bool {
	opened, taken := w.requests[whoAsks(p.PairKey)], w.requests[whoAsks(p.Reverse())]
	return opened != nil && opened.Client.Connects.Count() >= minCritical && (taken == nil || taken.Server.Connects.Count() == 0)
}

// excess is a quantile of what neither this node nor the distance explains.
func (d *distant) excess(q float64) float64 {
	return max(d.rtt.Quantile(leastQuantile), d.rtt.Quantile(q)) - d.here - d.expected
}

// remoteDelay is of round trips that take longer than this node, the distance and a delayed acknowledgement explain.
func remoteDelay(w *window, pairs []connected) *Finding {
	var slow []distant
	for _, c := range pairs {
		slow = append(slow, w.distant(c)...)
	}
	if len(slow) == 0 {
		return nil
	}
	slices.SortStableFunc(slow, func(x, y distant) int { return cmp.Compare(y.pain, x.pain) })
	f := &Finding{Kind: KindDelay, Cause: RemoteDelay, Severity: Warning, subject: w.observer(), beyond: true}
	// A critical one is of those pairs alone that are slow by as much as that takes.
	if much := slices.DeleteFunc(slices.Clone(slow), func(d distant) bool { return d.little }); roundTripsOf(much) >= minCritical {
		f.Severity, slow = Critical, much
	}
	asking := w.askOver(slow)
	w.askedOver = append(w.askedOver, asking...)
	hit := make([]*aggregate.Pair, len(slow))
	var rtt hist.Histogram
	known := false
	for i, d := range slow {
		hit[i] = d.Pair
		rtt.Merge(d.rtt)
		known = known || d.usual != nil
		f.pain += d.pain / w.seconds()
	}
	for i := range asking {
		hit = append(hit, asking[i].Pair)
	}
	worst := &slow[0]
	p50 := worst.excess(0.5)
	f.Delay = &Delay{P50: &p50, P99: new(worst.excess(0.99)), Share: new(p50 / (p50 + worst.expected + worst.here)), Baseline: worst.usual}
	f.Pairs, f.PairsTotal = pairNames(hit)
	f.Confidence = inferredConfidence * confidence(float64(rtt.Count()), float64(rtt.Above(worst.expected+worst.threshold.WarnDelay))/float64(rtt.Count()), w.counts)
	if !known {
		f.Confidence *= unlearntConfidence
	}
	f.predicate = fmt.Sprintf("%s answered %s (p50) after it %s", listed(f.Pairs, f.PairsTotal), seconds(p50), w.leaves(worst.Pair))
	f.Evidence = append([]string{
		fmt.Sprintf("TCP's round trips of %s → %s%s take %s (p50) and %s at least; this node accounts for %s of it",
			f.Pairs[0].Src, f.Pairs[0].Dst, worst.to(), seconds(worst.rtt.Quantile(0.5)), seconds(worst.rtt.Quantile(leastQuantile)), seconds(worst.here)),
		worst.compared(),
		fmt.Sprintf("inferred: the rest is beyond this node; %s from %s more than usual: %s", f.Severity, seconds(worst.threshold.WarnDelay), worst.threshold.Reason),
		w.seenHere(worst.Pair),
	}, missedEvidence(w.counts)...)
	for i := range asking {
		f.Evidence = append(f.Evidence, w.slowRequestEvidence(asking[i])+", over the same way")
	}
	f.Evidence = append(f.Evidence, w.excuseByCPU(f, longestForSoftirq, false)...)
	f.Next = next(RemoteDelay)
	return f
}

// askOver are the pairs whose requests are slow over nothing but the ways to nodes to which round trips of others are slow too, by as much as
// counts there, and by most of what the requests are late by.
func (w *window) askOver(slow []distant) (asking []*slowRequests) {
	for _, s := range w.slowRequests() {
		isSlow := func(node string) bool {
			return slices.ContainsFunc(slow, func(d distant) bool {
				return d.node == node && s.times.Extra() >= d.threshold.WarnDelay && s.times.isMostly(d.excess(0.5)) && !d.isAtPeersLimit(w)
			})
		}
		told := slices.ContainsFunc(slow, func(d distant) bool { return d.PairKey == s.PairKey })
		if !told && len(asking) < maxLines && !slices.ContainsFunc(s.nodes, func(node string) bool { return !isSlow(node) }) {
			asking = append(asking, s)
		}
	}
	return asking
}

// roundTripsOf is how many round trips the slow pairs were judged by together.
func roundTripsOf(slow []distant) (n uint64) {
	for i := range slow {
		n += slow[i].rtt.Count()
	}
	return n
}

// to names the other end's node, if it is known.
func (d *distant) to() string {
	if d.node == "" || d.node == qualified(d.DstNamespace, d.DstWorkload) {
		return ""
	}
	return " on " + d.node
}

// compared says what the round trips were compared with.
func (d *distant) compared() string {
	switch {
	case d.little:
		return fmt.Sprintf("usual are %s, as learnt of connections to that node and seen of this pair before", seconds(*d.usual))
	case d.usual != nil:
		return fmt.Sprintf("usual are %s, as learnt of connections to that node", seconds(*d.usual))
	case d.far:
		return fmt.Sprintf("what is usual there was not learnt (an agent does in %d minutes); two sites of a cluster are hardly %s apart", knownAfter, seconds(farDelay))
	}
	return fmt.Sprintf("what is usual there was not learnt (an agent does in %d minutes); the shortest of this window took %s", knownAfter, seconds(d.expected))
}
