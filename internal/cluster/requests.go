package cluster

import (
	"fmt"
	"slices"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

const (
	// lateInNetwork is from how many seconds on requests are late between nodes: by so much the network's share of them is longer than half of
	// the requests usually take as a whole.
	lateInNetwork = 0.005
	// ofServer is the largest part of what requests are late by that may be the network's where the server is to be told of.
	ofServer = 0.5
	// sameRequests is by which factor both ends' rates may differ at most. Else the other end has answered others too, of which each may take
	// another time, or one end watches other connections.
	sameRequests = 1.3
	// sameWindow is by which share of their length both ends' windows may be apart. Where half of a window is before what has become slow, and
	// half of the other one is not, one end would look quick.
	sameWindow = 0.33
)

// division is how the time of a pair's requests is divided, by both ends' nodes.
type division struct {
	network float64 // what they take longer at the client's pod than at the server's and on the client's node, seconds, at least
	server  float64 // p50 at the server's pod, seconds
	// serverP99 likewise is the p99.
	serverP99 float64
	nodes     []string // of the servers, the slowest first
}

// divide takes off the time that servers have requests, as their own nodes tell it, where a node sees that these have become slow beyond it:
// what is left is the network's. Both figures are of the same requests, by each node's own clock.
func (g *merger) divide(answers []Answer) {
	var late []remote
	for i := range g.beyond {
		r := &g.beyond[i]
		if r.finding.Cause != diagnose.RequestsSlow && r.finding.Cause != diagnose.ServerSlow {
			continue
		}
		all := len(r.finding.Pairs)
		var network []diagnose.Pair
		var why []string
		r.finding.Pairs = slices.DeleteFunc(r.finding.Pairs, func(p diagnose.Pair) bool {
			s, ok := g.shareOf(r.node, &p, answers)
			if !ok || p.Requests.Usual == nil {
				return false
			}
			c := p.Requests
			extra := c.Least - c.Here - *c.Usual
			switch {
			case s.network-*c.Usual >= lateInNetwork:
				network = append(network, p)
				why = append(why, fmt.Sprintf("%s → %s: requests take %s (p50) at the client's pod, where %s are usual, and %s (p50) at the server's, on %s: "+
					"%s at least are spent between the nodes", p.Src, p.Dst, diagnose.Seconds(c.P50), diagnose.Seconds(*c.Usual), diagnose.Seconds(s.server), list(s.nodes), diagnose.Seconds(s.network)))
			case s.network <= ofServer*extra:
				g.serverSlow(r, p, s)
			default:
				return false
			}
			return true
		})
		r.finding.PairsTotal -= all - len(r.finding.Pairs)
		if len(network) > 0 {
			late = append(late, remote{r.node, lateBetween(r, network, why)})
		}
	}
	g.beyond = append(g.beyond, late...)
}

// shareOf divides the time of a pair's requests, as the node sees it that asks. ok tells that all nodes that may have answered say so, and of
// as many requests as were asked.
func (g *merger) shareOf(node string, p *diagnose.Pair, answers []Answer) (s division, ok bool) {
	src, dst, peers, ok := g.ends(node, p)
	if !ok || p.Requests == nil {
		return s, false
	}
	of := func(node string) int {
		return slices.IndexFunc(answers, func(a Answer) bool { return a.Node == node && a.Report != nil })
	}
	own := of(node)
	if own < 0 {
		return s, false
	}
	var rate, least float64
	for _, peer := range peers {
		at := of(peer)
		if at < 0 || answers[at].At.Sub(answers[own].At).Abs().Seconds() > sameWindow*answers[own].Report.WindowSeconds {
			return s, false
		}
		for i := range answers[at].Report.Served {
			q := &answers[at].Report.Served[i]
			from, to, _, known := g.ends(peer, q)
			if !known || from != src || to != dst || q.Requests == nil {
				continue
			}
			rate += q.Requests.PerSecond
			least = max(least, q.Requests.Least)
			if q.Requests.P50 > s.server || len(s.nodes) == 0 {
				s.nodes = slices.Insert(s.nodes, 0, peer)
			} else {
				s.nodes = append(s.nodes, peer)
			}
			s.server, s.serverP99 = max(s.server, q.Requests.P50), max(s.serverP99, q.Requests.P99)
		}
	}
	if rate == 0 || max(rate/p.Requests.PerSecond, p.Requests.PerSecond/rate) > sameRequests {
		return s, false
	}
	s.network = max(0, min(p.Requests.Least-least, p.Requests.P50-s.server)-p.Requests.Here)
	return s, true
}

// serverSlow tells of a server, at its own node, whose requests are late by its own time.
func (g *merger) serverSlow(r *remote, p diagnose.Pair, s division) {
	seen := Observation{r.node, r.finding.Cause, r.finding.Severity, r.finding.Sentence()}
	src, dst, _, _ := g.ends(r.node, &p)
	at := slices.IndexFunc(g.local, func(l Finding) bool {
		return l.Finding.Cause == diagnose.ServerSlow && slices.Contains(s.nodes, l.Nodes[0]) && slices.ContainsFunc(l.Finding.Pairs, func(q diagnose.Pair) bool {
			from, to, _, ok := g.ends(l.Nodes[0], &q)
			return ok && from == src && to == dst
		})
	})
	if at >= 0 {
		g.local[at].addSeen([]Observation{seen})
		return
	}
	f := r.finding
	f.Cause, f.Severity, f.Pairs, f.PairsTotal = diagnose.ServerSlow, diagnose.Info, []diagnose.Pair{p}, 1
	f.Stage, f.Device, f.Direction = journey.Deliver, netdev.PodLabel, journey.In
	f.Delay = &diagnose.Delay{P50: new(s.server), P99: new(s.serverP99)}
	f.Text = fmt.Sprintf("the application %s takes %s (p50) to answer %s, where the whole call usually takes %s", dst, diagnose.Seconds(s.server), src, diagnose.Seconds(*p.Requests.Usual))
	f.Evidence = []string{fmt.Sprintf("%s → %s: requests take %s (p50) at the server's pod on %s, and %s (p50) at the client's on %s: no more than %s are the network's",
		src, dst, diagnose.Seconds(s.server), list(s.nodes), diagnose.Seconds(p.Requests.P50), r.node, diagnose.Seconds(max(s.network, p.Requests.P50-p.Requests.Here-s.server)))}
	f.Next = []string{"tracer diagnose # on " + s.nodes[0]}
	g.local = append(g.local, Finding{Finding: f, Nodes: s.nodes[:1], SeenFrom: []Observation{seen}})
}

// lateBetween is the delay beyond a node of pairs whose servers do not take what their requests take.
func lateBetween(r *remote, pairs []diagnose.Pair, why []string) diagnose.Finding {
	f := r.finding
	f.Cause, f.Severity, f.Pairs, f.PairsTotal = diagnose.RemoteDelay, diagnose.Warning, pairs, len(pairs)
	worst := pairs[0].Requests
	f.Delay = &diagnose.Delay{P50: new(worst.P50 - worst.Here - *worst.Usual), P99: new(worst.P99 - worst.Here - *worst.Usual), Baseline: worst.Usual}
	f.Text = fmt.Sprintf("%s sees requests of %s → %s take %s (p50), where %s are usual, and the application takes no such time", r.node, pairs[0].Src, pairs[0].Dst,
		diagnose.Seconds(worst.P50), diagnose.Seconds(*worst.Usual))
	f.Evidence = why
	f.Next = []string{"tracer diagnose # on " + r.node}
	return f
}
