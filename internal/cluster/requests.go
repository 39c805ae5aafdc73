package cluster

import (
	"fmt"
	"math"
	"slices"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

const (
	// lateInNetwork is from how many seconds on requests are late between nodes: by so much the network's share of them is longer than half of
	// the requests usually take as a whole. While a server takes longer than that whole by half of it the network is not told of.
	lateInNetwork = 0.005
	// ofServer is the largest part of what requests are late by that may be the network's where the server is to be told of.
	ofServer = 0.5
	// sameRequests is by which factor both ends' rates may differ at most. Else the other end has answered others too, of which each may take
	// another time, or one end watches other connections.
	sameRequests = 1.3
	// allTimed is which share of the requests were timed one by one at least. Where only some connections are watched both ends watch different ones,
	// and their rates, which stand for all, agree all the same.
	allTimed = 0.95
	// sameWindow is by which share of the shorter one both ends' windows may begin and end apart. Where half of a window is before what has become slow, and
	// half of the other one is not, one end would look quick.
	sameWindow = 0.33
)

// division is how the time of a pair's requests is divided, by both ends' nodes.
type division struct {
	network float64  // what they take longer at the client's pod than at the slowest server's and on the client's node, seconds, at least
	most    float64  // likewise than at the quickest server's, at most
	server  float64  // p50 at the slowest server's pod, seconds
	p99     float64  // likewise
	nodes   []string // of the servers, the slowest first
}

// timed tells whose requests to whom a node has answered.
type timed struct{ node, client, src, dst string }

// divide takes off the time that servers have requests, as their own nodes tell it, where a node sees that these have become slow beyond it:
// what is left is the network's. Both figures are of the same requests, by each node's own clock.
func (g *merger) divide(answers []Answer) {
	slow := func(r *remote) bool {
		return r.finding.Cause == diagnose.RequestsSlow || r.finding.Cause == diagnose.ServerSlow
	}
	if !slices.ContainsFunc(g.beyond, func(r remote) bool { return slow(&r) }) {
		return
	}
	byNode, served := map[string]*Answer{}, map[timed][]*diagnose.RequestTimes{}
	for i := range answers {
		a := &answers[i]
		if a.Report == nil {
			continue
		}
		byNode[a.Node] = a
		for j := range a.Report.Served {
			p := &a.Report.Served[j]
			if src, dst, ok := g.places(p); ok && p.Requests != nil {
				key := timed{a.Node, src.Node, src.name(), dst.name()}
				served[key] = append(served[key], p.Requests)
			}
		}
	}
	var late []remote
	for i := range g.beyond {
		r := &g.beyond[i]
		if !slow(r) {
			continue
		}
		all := len(r.finding.Pairs)
		var network []diagnose.Pair
		var divided []division
		contradicted := false
		r.finding.Pairs = slices.DeleteFunc(r.finding.Pairs, func(p diagnose.Pair) bool {
			s, ok := g.shareOf(r.node, &p, byNode, served)
			if !ok {
				return false
			}
			usual := *p.Requests.Usual
			switch {
			case s.network-usual >= lateInNetwork && s.server-usual <= lateInNetwork/2:
				if r.finding.Cause == diagnose.ServerSlow { // handshakes are quick, and so is the server
					contradicted = true
					r.finding.Evidence = append(r.finding.Evidence, s.of(&p))
					return false
				}
				network, divided = append(network, p), append(divided, s)
			case s.most <= ofServer*p.Requests.Extra():
				g.serverSlow(r, p, s)
			default:
				return false
			}
			return true
		})
		if len(network) > 0 {
			late = append(late, remote{r.node, lateBetween(r, network, divided)})
		}
		if contradicted {
			r.finding.Cause = diagnose.RequestsSlow
		}
		r.finding.PairsTotal -= all - len(r.finding.Pairs)
		if contradicted || len(r.finding.Pairs) < all {
			r.retell()
		}
	}
	g.beyond = append(g.beyond, late...)
}

// shareOf divides the time of a pair's requests, as the node sees it that asks. ok tells that all nodes that may have answered say so, and of
// as many requests as were asked, in the same time.
func (g *merger) shareOf(node string, p *diagnose.Pair, byNode map[string]*Answer, served map[timed][]*diagnose.RequestTimes) (s division, ok bool) {
	src, dst, peers, ok := g.ends(node, p)
	c, own := p.Requests, byNode[node]
	if !ok || own == nil || c == nil || c.Usual == nil || !areTimed(c, own) {
		return s, false
	}
	var rate, least float64
	quickest := math.Inf(1)
	for _, peer := range peers {
		other := byNode[peer]
		if other == nil || !atOnce(own, other) {
			return s, false
		}
		for _, q := range served[timed{peer, node, src, dst}] {
			if !areTimed(q, other) {
				return s, false
			}
			rate += q.PerSecond
			least = max(least, q.Least)
			switch {
			case q.P50 > s.server:
				s.nodes = slices.Insert(slices.DeleteFunc(s.nodes, func(n string) bool { return n == peer }), 0, peer)
			case !slices.Contains(s.nodes, peer):
				s.nodes = append(s.nodes, peer)
			}
			quickest = min(quickest, q.P50)
			s.server, s.p99 = max(s.server, q.P50), max(s.p99, q.P99)
		}
	}
	if rate == 0 || max(rate/c.PerSecond, c.PerSecond/rate) > sameRequests {
		return s, false
	}
	s.network = max(0, min(c.Least-least, c.P50-s.server)-c.Here)
	s.most = max(0, c.P50-quickest-c.Here)
	return s, true
}

// areTimed tells whether requests that a node tells of were timed one by one.
func areTimed(t *diagnose.RequestTimes, a *Answer) bool {
	return float64(t.Timed) >= allTimed*t.PerSecond*a.Report.WindowSeconds
}

// atOnce tells whether the windows of two nodes began and ended together. Each ended between the question and the answer.
func atOnce(x, y *Answer) bool {
	of, longer := x.Report.WindowSeconds, x.Report.WindowSeconds-y.Report.WindowSeconds
	later, sooner := x.At.Sub(y.Asked).Seconds(), y.At.Sub(x.Asked).Seconds()
	return max(later, sooner, later-longer, sooner+longer) <= sameWindow*min(of, of-longer)
}

// of says how the time of a pair's requests is divided.
func (s *division) of(p *diagnose.Pair) string {
	return fmt.Sprintf("%s → %s: requests take %s (p50) at the client's pod, where %s are usual, and %s (p50) at the server's, on %s: "+
		"%s at least are spent between the nodes", p.Src, p.Dst, diagnose.Seconds(p.Requests.P50), diagnose.Seconds(*p.Requests.Usual), diagnose.Seconds(s.server),
		list(s.nodes), diagnose.Seconds(s.network))
}

// serverSlow tells of a server, at its own node, whose requests are late by its own time.
func (g *merger) serverSlow(r *remote, p diagnose.Pair, s division) {
	seen := Observation{r.node, r.finding.Cause, r.finding.Severity, r.finding.Sentence()}
	src, dst, _ := g.places(&p)
	at := slices.IndexFunc(g.local, func(l Finding) bool {
		return l.Finding.Cause == diagnose.ServerSlow && slices.Contains(s.nodes, l.Nodes[0]) && slices.ContainsFunc(l.Finding.Pairs, func(q diagnose.Pair) bool {
			from, to, ok := g.places(&q)
			return ok && from.name() == src.name() && to.name() == dst.name()
		})
	})
	if at >= 0 {
		g.local[at].addSeen([]Observation{seen})
		return
	}
	f := r.finding
	f.Cause, f.Severity, f.Pairs, f.PairsTotal = diagnose.ServerSlow, diagnose.Info, []diagnose.Pair{p}, 1
	f.Stage, f.Device, f.Direction = journey.Deliver, netdev.PodLabel, journey.In
	f.Delay = &diagnose.Delay{P50: new(s.server), P99: new(s.p99)}
	f.Text = fmt.Sprintf("the application %s takes %s (p50) to answer %s, where %s are usual of the whole call", dst.name(), diagnose.Seconds(s.server), src.name(), diagnose.Seconds(*p.Requests.Usual))
	f.Evidence = []string{fmt.Sprintf("%s → %s: requests take %s (p50) at the server's pod on %s, and %s (p50) at the client's on %s: no more than %s are the network's",
		src.name(), dst.name(), diagnose.Seconds(s.server), list(s.nodes), diagnose.Seconds(p.Requests.P50), r.node, diagnose.Seconds(s.most))}
	f.Next = []string{"tracer diagnose # on " + s.nodes[0]}
	g.local = append(g.local, Finding{Finding: f, Nodes: s.nodes[:1], SeenFrom: []Observation{seen}})
}

// lateBetween is the delay beyond a node of pairs whose servers do not take what their requests take.
func lateBetween(r *remote, pairs []diagnose.Pair, divided []division) diagnose.Finding {
	f := r.finding
	f.Cause, f.Severity, f.Pairs, f.PairsTotal = diagnose.RemoteDelay, diagnose.Warning, pairs, len(pairs)
	worst, s := pairs[0].Requests, &divided[0]
	f.Delay = &diagnose.Delay{P50: new(s.network), Baseline: worst.Usual}
	f.Text = fmt.Sprintf("%s sees requests of %s → %s take %s (p50), where %s are usual, and the application takes %s of it", r.node, pairs[0].Src, pairs[0].Dst,
		diagnose.Seconds(worst.P50), diagnose.Seconds(*worst.Usual), diagnose.Seconds(s.server))
	f.Evidence = nil
	for i := range pairs {
		f.Evidence = append(f.Evidence, divided[i].of(&pairs[i]))
	}
	f.Next = []string{"tracer diagnose # on " + r.node}
	return f
}

// retell says what a node sees of slow requests by the pairs that are left.
func (r *remote) retell() {
	f := &r.finding
	if f.Cause != diagnose.RequestsSlow && f.Cause != diagnose.ServerSlow {
		return
	}
	if len(f.Pairs) == 0 { // those that are left are not named
		f.Delay, f.Text = nil, fmt.Sprintf("%s sees requests of %d more pairs take longer than is usual", r.node, f.PairsTotal)
		return
	}
	if f.Pairs[0].Requests == nil || f.Pairs[0].Requests.Usual == nil {
		return
	}
	p, t := &f.Pairs[0], f.Pairs[0].Requests
	f.Delay = &diagnose.Delay{P50: new(t.P50 - t.Here), P99: new(t.P99 - t.Here), Baseline: t.Usual}
	f.Text = fmt.Sprintf("%s sees %s answer %s after %s (p50), of which %s were usual", r.node, p.Dst, p.Src, diagnose.Seconds(t.P50-t.Here), diagnose.Seconds(*t.Usual))
}
