package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

const (
	// remoteDelay is what a round trip may take beyond this node. An acknowledgement may wait for 40 ms (TCP_DELACK_MIN),
	// and a tick of at most 10 ms: less than that does not tell a slow network from an application that thinks.
	remoteDelay = 0.06
	// openingDelay is the same of round trips that open connections: the kernel answers those at once.
	openingDelay = 0.02
	// leastShare is the part of a window's round trips that is disregarded as too good to be true for the others: what
	// was sent before a fault began comes back within its window.
	leastShare = 0.05
	// remoteShare is how much of a delay has to be beyond this node where this node itself delays: both are not measured
	// on the same packets.
	remoteShare = 0.3

	// TCP that fills a link finds its rate by losing some of what it sends, far less than these shares.
	remoteLossWarning, remoteLossCritical = 0.01, 0.02
)

// remoteCauses are what connections suffer beyond this node: on the wire, or at their other ends.
func remoteCauses(w *window) []Finding {
	pairs := w.connected()
	found := remoteLosses(w, pairs)
	if f := remoteDelays(w, pairs); f != nil {
		found = append(found, *f)
	}
	return found
}

// connected is a pair whose connections have an end here, from which they send, and the pair of what comes back.
type connected struct {
	*aggregate.Pair
	back *aggregate.Pair // nil if nothing did
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
		out = append(out, connected{Pair: p, back: w.reverse(p)})
	}
	return out
}

// inCluster tells pods and nodes from the world and from those that nobody knows.
func inCluster(namespace, workload string) bool {
	return namespace != "" || workload == aggregate.NodeWorkload
}

// here is how much of a round trip is spent on this node, in seconds: packets that have not come out count too.
func (c *connected) here(s *aggregate.Snapshot) float64 {
	sum := c.Path.Quantile(0.5)
	if c.back != nil {
		sum += c.back.Path.Quantile(0.5)
	}
	for i := range s.InFlight {
		for _, h := range s.InFlight[i].Pairs {
			if s.InFlight[i].Stage == journey.Queue && (h.PairKey == c.PairKey || c.back != nil && h.PairKey == c.back.PairKey) {
				sum = max(sum, h.Oldest)
			}
		}
	}
	return sum
}

// lost is how many segments were lost on this node, both ways: a lost acknowledgement may cost a retransmission too.
func (c *connected) lost() (n uint64) {
	for _, p := range []*aggregate.Pair{c.Pair, c.back} {
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

// remoteDelays are round trips that take longer than this node and a delayed acknowledgement explain.
func remoteDelays(w *window, pairs []connected) *Finding {
	type slowPair struct {
		connected
		rtt                       *hist.Histogram // what it is judged by
		here, limit, excess, pain float64
	}
	var slow []slowPair
	var rtt hist.Histogram
	f := &Finding{Kind: KindDelay, Cause: RemoteDelay, Severity: Warning, subject: "the wire or the other node"}
	for _, c := range pairs {
		p := slowPair{connected: c, rtt: &c.TCP.RTT, here: c.here(w.counts), limit: remoteDelay}
		if c.TCP.HandshakeRTT.Count() >= minSamples {
			p.rtt, p.limit = &c.TCP.HandshakeRTT, openingDelay
		}
		if p.excess = p.rtt.Quantile(leastShare) - p.here; p.rtt.Count() < minSamples || p.excess < max(p.limit, remoteShare*p.here) {
			continue
		}
		p.pain = max(p.excess, p.rtt.Quantile(0.5)-p.here) * float64(max(c.TCP.Delivered, c.TCP.RTT.Count()))
		slow = append(slow, p)
	}
	if len(slow) == 0 {
		return nil
	}
	slices.SortStableFunc(slow, func(x, y slowPair) int { return cmp.Compare(y.pain, x.pain) })
	hurt := make([]pairQueue, len(slow))
	for i, p := range slow {
		hurt[i] = pairQueue{Pair: p.Pair}
		rtt.Merge(p.rtt)
		f.pain += p.pain / w.seconds()
	}
	worst := &slow[0]
	beyond := func(q float64) *float64 { return new(max(worst.excess, worst.rtt.Quantile(q)-worst.here)) }
	f.Delay = &Delay{P50: beyond(0.5), P99: beyond(0.99)}
	f.Delay.Share = new(*f.Delay.P50 / (*f.Delay.P50 + worst.here))
	if rtt.Count() >= minCritical {
		f.Severity = Critical
	}
	f.Pairs, f.PairsTotal = names(hurt, nil, nil)
	f.Confidence = inferred * confidence(float64(rtt.Count()), float64(rtt.Above(worst.limit))/float64(rtt.Count()), w.counts)
	f.claim = fmt.Sprintf("adds %s to round trips of %s", seconds(*f.Delay.P50), listed(f.Pairs, f.PairsTotal))
	why := "a delayed acknowledgement would explain 40 ms"
	if worst.limit == openingDelay {
		why = "these open connections, and are answered at once"
	}
	f.Evidence = []string{
		fmt.Sprintf("TCP's round trips of %s → %s take %s (p50), %s at least, of which this node's stages explain %s",
			f.Pairs[0].Src, f.Pairs[0].Dst, seconds(worst.rtt.Quantile(0.5)), seconds(worst.rtt.Quantile(leastShare)), seconds(worst.here)),
		fmt.Sprintf("inferred: what is left is beyond this node; %s; %s from %s on", why, f.Severity, seconds(worst.limit)),
	}
	f.Next = []string{"tracer diagnose # on the node of " + f.Pairs[0].Dst, "ss -tiH | grep -o 'rtt:[^ ]*' # in the pod", "mtr -n -c 10 OTHER-NODE"}
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	return f
}

// inferred is how far a finding about what was not seen may be trusted.
const inferred = 0.8

// lossy is a pair whose segments are lost beyond this node.
type lossy struct {
	connected
	lost, segments uint64
	local          uint64
}

// blackHoleLeast is the least mean size of segments, in bytes, that may be too large for a link: all links pass smaller
// ones (536 is what TCP assumes where it knows nothing).
const blackHoleLeast = 536

// stuckShare is one in how many segments that were sent again in vain may come through in the end: where losses are
// random most do, and after an outage all.
const stuckShare = 5

// tooLarge tells whether only large segments are lost: most of those that were sent again had been before, in vain, and
// hardly any came through, while others did that are less than half as long.
func (l *lossy) tooLarge() bool {
	t := l.TCP
	return t.RetransmittedAgain >= minCritical && 2*t.RetransmittedAgain >= t.Retransmitted && stuckShare*t.Recovered <= t.RetransmittedAgain &&
		t.RetransmittedAgainBytes >= blackHoleLeast*t.RetransmittedAgain && t.AckedMeanwhile >= minCritical && 2*l.passed() < l.stuck()
}

// stuck and passed are the mean sizes of segments that were sent again in vain, and of those that were confirmed
// meanwhile.
func (l *lossy) stuck() float64 {
	return float64(l.TCP.RetransmittedAgainBytes) / float64(max(1, l.TCP.RetransmittedAgain))
}
func (l *lossy) passed() float64 {
	return float64(l.TCP.AckedMeanwhileBytes) / float64(max(1, l.TCP.AckedMeanwhile))
}

// remoteLosses are retransmissions of what this node has not lost: those of segments that are too large for the way, and
// the others.
func remoteLosses(w *window, pairs []connected) (found []Finding) {
	var large, other []lossy
	for _, c := range pairs {
		t := c.TCP
		again := t.Retransmits - min(t.Retransmits, t.Spurious)
		l := lossy{connected: c, local: c.lost(), segments: max(t.Segments, again)}
		l.lost = again - min(again, l.local)
		if l.lost < minSamples || float64(l.lost) < remoteShare*float64(again) ||
			float64(l.lost) < remoteLossWarning*float64(l.segments) {
			continue
		}
		if l.tooLarge() {
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

// blackHole is a link beyond this node that loses what is too large for it, and says nothing.
func blackHole(w *window, hit []lossy) *Finding {
	f := remoteLoss(w, hit)
	worst := &hit[0]
	f.Cause = MTU
	f.claim = "loses the large segments of " + listed(f.Pairs, f.PairsTotal) + ", and passes small ones"
	f.Evidence = append([]string{fmt.Sprintf("%s of %.0f bytes (mean) had been sent again before, in vain, while %s of %.0f bytes were acknowledged",
		plural(worst.TCP.RetransmittedAgain, "segment"), worst.stuck(), group(worst.TCP.AckedMeanwhile), worst.passed())}, f.Evidence...)
	f.Next = []string{"tracepath -n DESTINATION # in the pod", "ping -c 3 -M do -s 1400 DESTINATION # in the pod; then smaller", "ip -d link show # are the tunnel's and the pods' MTUs those that the fabric allows?"}
	return f
}

// remoteLoss is what is lost beyond this node.
func remoteLoss(w *window, hit []lossy) *Finding {
	f := &Finding{Kind: KindRetransmit, Cause: RemoteLoss, Severity: Warning, subject: "the wire or the other node"}
	slices.SortStableFunc(hit, func(x, y lossy) int { return cmp.Compare(y.lost, x.lost) })
	var lost, segments, answered, local, spurious uint64
	hurt := make([]pairQueue, len(hit))
	for i, l := range hit {
		hurt[i] = pairQueue{Pair: l.Pair}
		lost += l.lost
		f.pain += float64(l.lost) * w.rto(l.Pair) / w.seconds()
		segments += l.segments
		answered += l.TCP.Delivered
		local += l.local
		spurious += l.TCP.Spurious
	}
	ratio := float64(lost) / float64(segments)
	// A peer that has gone answers nothing: that some tries were in vain is no alarm.
	if !w.to.DropsUnseen && ratio >= remoteLossCritical && lost >= minCritical && (answered > 0 || lost > strays) {
		f.Severity = Critical
	}
	f.Pairs, f.PairsTotal = names(hurt, nil, nil)
	f.Drops = &Drops{Packets: lost, Ratio: &ratio}
	f.Confidence = inferred * confidence(float64(lost), float64(lost)/float64(lost+local), w.counts)
	f.claim = "loses " + percent(ratio) + " of " + listed(f.Pairs, f.PairsTotal)
	f.Evidence = []string{fmt.Sprintf("of %s %s were lost: those sent again, without %s that had arrived after all and %s that were lost on this node",
		plural(segments, "segment"), group(lost), group(spurious), group(local))}
	if w.to.DropsUnseen {
		f.Confidence /= 2
		f.Evidence = append(f.Evidence, "drops on this node are not seen (`tracer check` says why): they may have been lost here")
	}
	if answered == 0 {
		f.Evidence = append(f.Evidence, "nothing at all was acknowledged in the window")
		f.claim = "answers nothing to " + listed(f.Pairs, f.PairsTotal)
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("inferred: they were lost beyond this node, or their acknowledgements were; %s from a loss of %s",
		f.Severity, percent(map[Severity]float64{Warning: remoteLossWarning, Critical: remoteLossCritical}[f.Severity])))
	f.Next = []string{"tracer diagnose # on the node of " + f.Pairs[0].Dst, "nstat -az TcpRetransSegs TcpExtTCPLostRetransmit # in the pod", "ip -s -s link show; ethtool -S UPLINK"}
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	return f
}
