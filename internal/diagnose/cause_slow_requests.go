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

// slowRequests are a pair's requests to pods of other nodes that take longer than this node and what is usual explain.
type slowRequests struct {
	connected
	times RequestTimes
	nodes []string // that the pair's connections lead to
}

// slowRequestRules find requests that have become slow beyond this node: server-slow where round trips to the node of who answers are as
// quick as usual, and requests-slow where nothing tells the network's time from the application's. Where connections show that the network
// is slow remote-delay has told of it.
func slowRequestRules(w *window) (found []Finding) {
	var server, either []slowRequests
	for _, s := range w.slowRequests() {
		key := s.PairKey
		if w.isHurt(&key, func(f *Finding) bool { return f.Severity != Info && f.Kind != KindMisconfiguration }) {
			continue
		}
		if w.quickRoundTrips(&s) != "" {
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
func (w *window) slowRequests() (slow []slowRequests) {
	if shortage, _ := w.cpuShortage(); shortage != noShortage || len(w.to.UsualRequests) == 0 {
		return nil
	}
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
		s := slowRequests{connected: connected{Pair: p, reverse: w.reverse(p), under: under(p)}}
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
	slices.SortFunc(slow, func(x, y slowRequests) int {
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

// quickRoundTrips says what shows that the network to all nodes that a pair asks is as quick as usual: round trips of whichever
// connections to them. "" if nothing does: an acknowledgement may have waited for the answer.
func (w *window) quickRoundTrips(s *slowRequests) string {
	trips := roundTrips(w.counts.Pairs)
	var shown []string
	for _, node := range s.nodes {
		quick := ""
		for _, handshake := range []bool{true, false} {
			key := PeerKey{node, handshake}
			rtt, usual := trips[key], w.to.PeerRTT[key]
			if usual == 0 || rtt == nil || rtt.Count() < minCritical || rtt.Quantile(leastQuantile)-usual > s.times.Extra()/2 {
				continue
			}
			what := "the shortest round trips"
			if handshake {
				what = "handshakes"
			}
			quick = fmt.Sprintf("%s with %s take %s, where %s are usual", what, node, seconds(rtt.Quantile(leastQuantile)), seconds(usual))
			break
		}
		if quick == "" {
			return ""
		}
		shown = append(shown, quick)
	}
	return strings.Join(shown, "; ")
}

// slowRequestsFinding is of requests that are slow, for one cause.
func (w *window) slowRequestsFinding(cause Cause, slow []slowRequests) Finding {
	pairs := make([]*aggregate.Pair, len(slow))
	var timed uint64
	for i := range slow {
		pairs[i] = slow[i].Pair
		timed += w.requests[whoAsks(slow[i].PairKey)].Client.Timed
	}
	worst := &slow[0]
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
		why = "while the network is as quick as usual"
		// The others are for the node where the pod runs.
		f.Next = slices.DeleteFunc(f.Next, func(c string) bool { return !strings.HasPrefix(c, "kubectl ") })
		f.Next = append([]string{"tracer diagnose # on the node of PEER"}, f.Next...)
	}
	f.predicate = fmt.Sprintf("%s answer %s after %s (p50), of which %s were usual: %s", f.Pairs[0].Dst, f.Pairs[0].Src, seconds(*f.Delay.P50),
		seconds(*worst.times.Usual), why)
	for i := range slow[:min(maxPairs, len(slow))] {
		f.Evidence = append(f.Evidence, w.slowRequestEvidence(&slow[i]))
	}
	if cause == RequestsSlow {
		f.Evidence = append(f.Evidence, "nothing tells the network's time from the application's: acknowledgements over kept connections wait for the answers, and no "+
			"handshake shows that the network is as quick as usual, or how slow it is. Both nodes together tell: what the pod that answers takes is its own")
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
	if quick := w.quickRoundTrips(s); quick != "" {
		line += "; " + quick
	}
	return line
}

// served are the pairs whose requests pods of this node have answered, the busiest first. With them another node's figures tell what of a
// request's time is the network's. None while CPUs have no time: then it may be spent on this node in front of all hooks.
func (w *window) served() (pairs []Pair) {
	if shortage, _ := w.cpuShortage(); shortage != noShortage {
		return nil
	}
	var all []*aggregate.Pair
	for key, r := range w.requests {
		if isTimed(&r.Server) {
			all = append(all, w.askedPair(key))
		}
	}
	of := func(p *aggregate.Pair) *aggregate.RequestSide { return &w.requests[whoAsks(p.PairKey)].Server }
	slices.SortFunc(all, func(x, y *aggregate.Pair) int {
		return cmp.Or(cmp.Compare(of(y).Answered.Count(), of(x).Answered.Count()), x.Compare(y.PairKey))
	})
	for _, p := range all[:min(maxServed, len(all))] {
		named, _ := pairNames([]*aggregate.Pair{p})
		named[0].Requests = new(w.requestTimes(of(p)))
		pairs = append(pairs, named[0])
	}
	return pairs
}
