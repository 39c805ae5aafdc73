package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// RequestTimes is how long a pair's requests take at the device of one end's pods: from the last packet of a request to the first of its
// answer.
type RequestTimes struct {
	PerSecond float64 `json:"per_second"`    // answered
	Timed     uint64  `json:"timed"`         // from how many records that is told: as many as were answered, unless only some connections are watched
	Least     float64 `json:"least_seconds"` // of nearly the quickest (5 % quantile)
	P50       float64 `json:"p50_seconds"`
	P99       float64 `json:"p99_seconds"`
	// Of those who ask: what their node accounts for at most, and the usual p50, or the usual round trip to the farthest of the nodes that they
	// ask, where that is longer; null where it was not learnt.
	Here  float64  `json:"here_seconds"`
	Usual *float64 `json:"usual_p50_seconds"`
}

// Extra is what neither the node of who asks nor what is usual explains, in seconds; 0 where that was not learnt.
func (t *RequestTimes) Extra() float64 {
	if t.Usual == nil {
		return 0
	}
	return t.Least - t.Here - *t.Usual
}

// MayBeOf tells whether a delay, as far as its size is known, may be most of what the requests are late by.
func (t *RequestTimes) MayBeOf(d *Delay) bool {
	if d == nil || d.P50 == nil && d.Oldest == nil {
		return true
	}
	var known float64
	for _, v := range []*float64{d.P50, d.Oldest} {
		if v != nil {
			known = max(known, *v)
		}
	}
	return t.isMostly(known)
}

// isMostly tells whether a delay, in seconds, is most of what the requests are late by.
func (t *RequestTimes) isMostly(delay float64) bool { return t.Extra() <= slowRequestShare*delay }

// slowRequests are a pair's requests to pods of other nodes that take longer than this node and what is usual explain.
type slowRequests struct {
	connected
	times RequestTimes
	nodes []string // that the pair's connections lead to
}

// slowRequestRules find requests that have become slow beyond this node: server-slow where nearly all handshakes with the node of who answers
// are quick against that, and requests-slow where nothing tells the network's time from the application's. Where connections show that the network
// is slow remote-delay has told of it.
func slowRequestRules(w *window) (found []Finding) {
	var server, either []*slowRequests
	for _, s := range w.slowRequests() {
		key := s.PairKey
		explains := func(f *Finding) bool {
			return f.Severity != Info && f.Kind != KindMisconfiguration && (f.Kind != KindDelay || s.times.MayBeOf(f.Delay))
		}
		if slices.Contains(w.askedOver, s) || w.isHurt(&key, explains) {
			continue
		}
		if w.areHandshakesQuick(s) {
			server = append(server, s)
		} else {
			either = append(either, s)
		}
	}
	if len(server) > 0 {
		found = append(found, w.slowRequestsFinding(ServerSlow, server))
	}
	if len(either) > 0 {
		found = append(found, w.slowRequestsFinding(RequestsSlow, either))
	}
	return found
}

// isTimed tells whether enough of a side's requests were timed, and so that their times are those of requests: not half of them a
// retransmission's, nor of connections that turn out not to alternate.
func isTimed(s *aggregate.RequestSide) bool {
	return s.Timed >= minMeasured && 2*s.Repeated < s.Answered.Count()+s.Connects.Count() && s.Timed > 2*timedInVain*s.LeftOut
}

// isSlowRequest compares what the quickest requests take with what half of them usually do, in seconds.
func isSlowRequest(least, usual float64) bool {
	return least-usual >= slowRequestThreshold.WarnDelay && least >= slowRequestFactor*usual
}

// slowRequests are those of the window, the slowest first.
func (w *window) slowRequests() []*slowRequests {
	if w.asked == nil {
		w.asked = []*slowRequests{}
		if shortage, _ := w.cpuShortage(); shortage == noShortage && len(w.to.UsualRequests) > 0 {
			w.asked = w.findSlowRequests()
		}
	}
	return w.asked
}

func (w *window) findSlowRequests() []*slowRequests {
	slow := []*slowRequests{}
	under := w.underTunnels()
	for key, r := range w.requests {
		usual, known := w.to.UsualRequests[key]
		answered := &r.Client.Answered
		if !known || !isTimed(&r.Client) || !isSlowRequest(answered.Quantile(leastQuantile), usual) {
			continue
		}
		key.Direction = journey.Local
		if w.pair(key) != nil {
			continue // some are answered on this node: the quickest ones may have been
		}
		key.Direction = journey.Out
		p := w.pair(key)
		if p == nil || !leavesForCluster(p) || float64(p.Bytes) > largeRequest*float64(answered.Count()) {
			continue
		}
		s := &slowRequests{connected: connected{Pair: p, reverse: w.reverse(p), under: under(p)}}
		far, known := s.farthest(w)
		if !known || s.isAtPeersLimit(w) {
			continue
		}
		usual = max(usual, far)
		s.times = w.requestTimes(&r.Client)
		s.times.Here, s.times.Usual = s.residence(w, residenceQuantile), &usual
		if isSlowRequest(s.times.Least-s.times.Here, usual) {
			slow = append(slow, s)
		}
	}
	slices.SortFunc(slow, func(x, y *slowRequests) int {
		return cmp.Or(cmp.Compare(y.times.Extra()*y.times.PerSecond, x.times.Extra()*x.times.PerSecond), x.Compare(y.PairKey))
	})
	return slow
}

// requestTimes is how long requests took that were answered.
func (w *window) requestTimes(s *aggregate.RequestSide) RequestTimes {
	answered := &s.Answered
	return RequestTimes{
		PerSecond: float64(answered.Count()) / w.seconds(), Timed: s.Timed, Least: answered.Quantile(leastQuantile), P50: answered.Quantile(0.5),
		P99: answered.Quantile(0.99),
	}
}

// farthest is the longest usual round trip, in seconds, to the nodes that a pair's connections lead to; false if it is not known of one of
// them. Pods may have moved to nodes that are farther away.
func (s *slowRequests) farthest(w *window) (far float64, known bool) {
	var trips uint64
	for i := range s.TCP.Peers {
		peer := &s.TCP.Peers[i]
		if peer.RTT.Count() == 0 {
			continue
		}
		usual, learnt := w.to.PeerRTT[PeerKey{peer.Node, true}]
		if !learnt {
			usual, learnt = w.to.PeerRTT[PeerKey{peer.Node, false}]
		}
		if !learnt {
			return 0, false
		}
		far, trips = max(far, usual), trips+peer.RTT.Count()
		s.nodes = append(s.nodes, peer.Node)
	}
	return far, trips > 0 && trips == s.TCP.RTT.Count()
}

// slowHandshakes is how long nearly the slowest handshakes took with each node where what is usual of them is known, in seconds; of nodes with
// which there were enough of them.
func (w *window) slowHandshakes() map[string]float64 {
	if w.handshakes == nil {
		w.handshakes = map[string]float64{}
		for key, rtt := range roundTrips(w.counts.Pairs) {
			if key.Handshake && rtt.Count() >= minCritical && w.to.PeerRTT[key] > 0 {
				w.handshakes[key.Node] = rtt.Quantile(1 - leastQuantile)
			}
		}
	}
	return w.handshakes
}

// areHandshakesQuick tells whether the network to all nodes that a pair asks is quick against what its requests are late by: of whichever connections
// to them nearly all handshakes are, as each may have a way of its own. Other round trips tell nothing: an acknowledgement may have waited for the
// answer, and one that is short had another way.
func (w *window) areHandshakesQuick(s *slowRequests) bool {
	took := w.slowHandshakes()
	return !slices.ContainsFunc(s.nodes, func(node string) bool {
		slowest, known := took[node]
		return !known || slowest-w.to.PeerRTT[PeerKey{node, true}] > s.times.Extra()/2
	})
}

// slowRequestsFinding is of requests that are slow, for one cause.
func (w *window) slowRequestsFinding(cause Cause, slow []*slowRequests) Finding {
	pairs := make([]*aggregate.Pair, len(slow))
	var timed uint64
	for i := range slow {
		pairs[i] = slow[i].Pair
		timed += w.requests[whoAsks(slow[i].PairKey)].Client.Timed
	}
	worst := slow[0]
	f := Finding{
		Kind: KindDelay, Cause: cause, Severity: Info, beyond: true, subject: w.observer(), Next: next(cause, "POD", podAsked(worst.Pair)),
		Delay:      &Delay{P50: new(worst.times.P50 - worst.times.Here), P99: new(worst.times.P99 - worst.times.Here), Baseline: worst.times.Usual},
		Confidence: inferredConfidence * confidence(float64(timed), 1, w.counts),
	}
	f.Pairs, f.PairsTotal = pairNames(pairs)
	for i := range f.Pairs { // each of slow is a pair of its own
		f.Pairs[i].Requests = &slow[i].times
	}
	why := "the network is slow, or who answers"
	if cause == ServerSlow {
		why = "while handshakes are quick"
		// The others are for the node where the pod runs.
		f.Next = slices.DeleteFunc(f.Next, func(c string) bool { return !strings.HasPrefix(c, "kubectl ") })
		f.Next = append([]string{"tracer diagnose # on the node of PEER"}, f.Next...)
	}
	f.predicate = fmt.Sprintf("%s answer %s after %s (p50), of which %s were usual: %s", f.Pairs[0].Dst, f.Pairs[0].Src, seconds(*f.Delay.P50),
		seconds(*worst.times.Usual), why)
	for i := range slow[:min(maxPairs, len(slow))] {
		f.Evidence = append(f.Evidence, w.slowRequestEvidence(slow[i]))
	}
	if cause == RequestsSlow {
		f.Evidence = append(f.Evidence, "nothing tells the network's time from the application's: acknowledgements over kept connections wait for the answers, and "+
			"handshakes do not tell enough. Both nodes together tell: what the pod that answers takes is its own")
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("told from %s more and %d times the usual on, by the quickest: %s", seconds(slowRequestThreshold.WarnDelay),
		slowRequestFactor, slowRequestThreshold.Reason))
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}

// slowRequestEvidence says how long a pair's requests take, and what is usual.
func (w *window) slowRequestEvidence(s *slowRequests) string {
	t := &s.times
	line := fmt.Sprintf("%s → %s: %s take %s (p50) and %s at least at the client's pod, where %s are usual; this node accounts for %s of it at most",
		qualified(s.SrcNamespace, s.SrcWorkload), qualified(s.DstNamespace, s.DstWorkload),
		plural(w.requests[whoAsks(s.PairKey)].Client.Answered.Count(), "request"), seconds(t.P50), seconds(t.Least), seconds(*t.Usual), seconds(t.Here))
	if w.areHandshakesQuick(s) {
		for _, node := range s.nodes {
			line += fmt.Sprintf("; handshakes with %s take %s at most (95 %%), where %s are usual", node, seconds(w.slowHandshakes()[node]), seconds(w.to.PeerRTT[PeerKey{node, true}]))
		}
	}
	return line
}

// served are the pairs whose requests pods of this node have answered, the busiest first. With them another node's figures tell what of a
// request's time is the network's. None while CPUs have no time: then it may be spent on this node in front of all hooks. Nor those of which
// packets are held between the pod and its device, where the time is not the application's.
func (w *window) served() (pairs []Pair) {
	if shortage, _ := w.cpuShortage(); shortage != noShortage {
		return nil
	}
	type asked struct {
		key   aggregate.PairKey
		count uint64
	}
	var all []asked
	for key, r := range w.requests {
		if isTimed(&r.Server) {
			all = append(all, asked{key, r.Server.Answered.Count()})
		}
	}
	slices.SortFunc(all, func(x, y asked) int { return cmp.Or(cmp.Compare(y.count, x.count), x.key.Compare(y.key)) })
	for _, a := range all {
		s := &w.requests[a.key].Server
		if len(pairs) == maxServed {
			break
		}
		if w.heldAtPod(a.key) >= heldShare*s.Answered.Quantile(0.5) {
			continue
		}
		named, _ := pairNames([]*aggregate.Pair{w.askedPair(a.key)})
		named[0].Requests = new(w.requestTimes(s))
		pairs = append(pairs, named[0])
	}
	return pairs
}
