package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/diagnose"
)

// Merge makes one report of the nodes' answers. What a node says of something beyond it is joined with what the other end's node
// finds at its own devices; what no node finds is between the nodes. One thing on many nodes is told once. notAsked says why there may be others; "" if there are none.
func Merge(answers []Answer, m Map, notAsked string) Report {
	if m.Nameless {
		notAsked = strings.TrimPrefix(notAsked+"; pods on other nodes have no names, and what nodes see of each other is not joined: your account may not list pods in all namespaces", "; ")
	}
	g := newMerger(m)
	r := Report{SchemaVersion: SchemaVersion, NotAsked: notAsked, Findings: []Finding{}, Nodes: []Node{}}
	for _, a := range answers {
		n := Node{Name: a.Node, Version: a.Version}
		if a.Report == nil {
			n.Error = a.Err.Error()
			r.Nodes = append(r.Nodes, n)
			continue
		}
		g.cleared[a.Node] = a.Report.Verdict == diagnose.Healthy || a.Report.Verdict == diagnose.Fault
		n.Verdict, n.Summary = a.Report.Verdict, a.Report.Summary
		r.WindowSeconds = max(r.WindowSeconds, a.Report.WindowSeconds)
		r.Nodes = append(r.Nodes, n)
		for _, f := range a.Report.Findings {
			g.add(a.Node, f)
		}
	}
	g.explain() // what waits in a queue of the server's node is not divided
	g.divide(answers)
	g.explain()
	r.Findings = append(r.Findings, g.grouped()...)
	r.Findings = append(r.Findings, g.between()...)
	slices.SortStableFunc(r.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(rank(x.Finding.Severity), rank(y.Finding.Severity)), cmp.Compare(len(y.SeenFrom), len(x.SeenFrom)))
	})
	r.Verdict = verdict(&r)
	r.Summary = summarize(&r)
	return r
}

// rank orders severities, those of newer agents that are not known here last.
func rank(s diagnose.Severity) int {
	known := []diagnose.Severity{diagnose.Critical, diagnose.Warning, diagnose.Info}
	if at := slices.Index(known, s); at >= 0 {
		return at
	}
	return len(known)
}

// verdict is a fault if anything is critical. Else it is healthy only if all nodes were asked and saw enough.
func verdict(r *Report) diagnose.Verdict {
	count := map[diagnose.Verdict]int{}
	for _, n := range r.Nodes {
		count[n.Verdict]++
	}
	switch {
	case len(r.Findings) > 0 && r.Findings[0].Finding.Severity == diagnose.Critical, count[diagnose.Fault] > 0:
		return diagnose.Fault
	case count[diagnose.Blind] > 0, count[""] > 0:
		return diagnose.Blind
	case count[diagnose.Healthy] == 0:
		return diagnose.NoTraffic
	}
	return diagnose.Healthy
}

// merger joins findings of several nodes.
type merger struct {
	known   Map
	runsOn  map[workload][]string // nodes, in the order of their names
	cleared map[string]bool       // nodes that saw enough to say what is wrong at their own devices
	local   []Finding
	beyond  []remote
}

// workload is one of the cluster.
type workload struct{ namespace, name string }

func newMerger(m Map) *merger {
	g := &merger{known: m, runsOn: map[workload][]string{}, cleared: map[string]bool{}}
	for _, p := range m.Places {
		if w := (workload{p.Namespace, p.Workload}); p.Workload != "" {
			g.runsOn[w] = append(g.runsOn[w], p.Node)
		}
	}
	for w, nodes := range g.runsOn {
		slices.Sort(nodes)
		g.runsOn[w] = slices.Compact(nodes)
	}
	return g
}

// remote is a finding of something that is not at its node's own devices.
type remote struct {
	node    string
	finding diagnose.Finding
}

func (g *merger) add(node string, f diagnose.Finding) {
	f.Pairs, f.Evidence = slices.Clone(f.Pairs), slices.Clone(f.Evidence)
	if isBeyond(&f) {
		g.beyond = append(g.beyond, remote{node, f})
		return
	}
	g.local = append(g.local, Finding{Finding: f, Nodes: []string{node}, SeenFrom: []Observation{}})
}

// isBeyond tells of a finding that is at none of its node's devices.
func isBeyond(f *diagnose.Finding) bool {
	return f.Stage == "" && f.Device == "" && slices.Contains([]diagnose.Cause{
		diagnose.RemoteDelay, diagnose.RemoteLoss, diagnose.MTU, diagnose.NoAnswer, diagnose.RequestsUnanswered, diagnose.RequestsSlow, diagnose.ServerSlow,
	}, f.Cause) &&
		f.Kind != diagnose.KindMisconfiguration
}

// ends are the workloads of a pair, and the nodes where the one runs that is not on the node which told of it; ok tells that both are
// known, and that there is such a node. An agent knows the names of its own node's pods alone, so they go by the addresses of one of the pair's conversations; others of
// the same workload may be on any node where it runs.
func (g *merger) ends(node string, p *diagnose.Pair) (src, dst string, peers []string, ok bool) {
	from, to, ok := g.places(p)
	if !ok {
		return "", "", nil, false
	}
	other := to
	if from.Node != node {
		other = from
	}
	if other.Node != node { // else the address is now one of the node's own: nothing lies between a node and itself
		peers = []string{other.Node}
	}
	for _, at := range g.runsOn[workload{other.Namespace, other.Workload}] {
		if at != node && at != other.Node {
			peers = append(peers, at)
		}
	}
	slices.Sort(peers)
	return from.name(), to.name(), peers, len(peers) > 0
}

// places are those of a pair's ends; false if they are not known.
func (g *merger) places(p *diagnose.Pair) (src, dst Place, ok bool) {
	if p.Addresses == nil {
		return src, dst, false
	}
	src, knownSrc := g.known.Places[p.Addresses.Src]
	dst, knownDst := g.known.Places[p.Addresses.Dst]
	return src, dst, knownSrc && knownDst
}

// name is a workload's, or a node's.
func (p Place) name() string {
	if p.Workload == "" {
		return p.Node
	}
	return p.Namespace + "/" + p.Workload
}

// Peers are the nodes where the other ends are of what some nodes see beyond them, in the order of their names.
func Peers(answers []Answer, m Map) (nodes []string) {
	g := newMerger(m)
	for _, a := range answers {
		if a.Report == nil {
			continue
		}
		for i := range a.Report.Findings {
			f := &a.Report.Findings[i]
			for j := range f.Pairs {
				if _, _, peers, ok := g.ends(a.Node, &f.Pairs[j]); ok && isBeyond(f) {
					nodes = append(nodes, peers...)
				}
			}
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// explain takes the pairs away that a finding at another node's own device explains, and findings of which no pair is left.
func (g *merger) explain() {
	slices.SortStableFunc(g.local, func(x, y Finding) int { return cmp.Compare(rank(x.Finding.Severity), rank(y.Finding.Severity)) })
	for i := range g.beyond {
		r := &g.beyond[i]
		told := map[int]bool{}
		all := len(r.finding.Pairs)
		r.finding.Pairs = slices.DeleteFunc(r.finding.Pairs, func(p diagnose.Pair) bool {
			at := slices.IndexFunc(g.local, func(l Finding) bool { return g.explains(&l, r, &p) })
			if at < 0 {
				return false
			}
			l := &g.local[at]
			if !told[at] {
				told[at] = true
				l.SeenFrom = append(l.SeenFrom, Observation{r.node, r.finding.Cause, r.finding.Severity, r.finding.Sentence()})
			}
			if len(l.Finding.Pairs) > 0 && rank(r.finding.Severity) < rank(l.Finding.Severity) {
				l.Finding.Severity = r.finding.Severity // it is seen to hurt
			}
			return true
		})
		r.finding.PairsTotal -= all - len(r.finding.Pairs)
		if len(r.finding.Pairs) < all {
			r.retell()
		}
	}
	g.beyond = slices.DeleteFunc(g.beyond, func(r remote) bool { return len(r.finding.Pairs) == 0 && r.finding.PairsTotal <= 0 })
}

// explains tells whether a finding at a node's device is what another node sees of a pair: it can do that, and it hurts the same pair or
// what comes back, or, as a network card's, all that passes.
func (g *merger) explains(l *Finding, r *remote, p *diagnose.Pair) bool {
	src, dst, peers, ok := g.ends(r.node, p)
	if !ok || l.Nodes[0] == r.node || !slices.Contains(peers, l.Nodes[0]) || !canCause(&l.Finding, &r.finding) {
		return false
	}
	if len(l.Finding.Pairs) == 0 {
		return l.Finding.Severity == diagnose.Critical
	}
	if p.Requests != nil && l.Finding.Kind == diagnose.KindDelay && !p.Requests.MayBeOf(l.Finding.Delay) {
		return false // most of what they are late by is elsewhere
	}
	return slices.ContainsFunc(l.Finding.Pairs, func(q diagnose.Pair) bool {
		from, to, ok := g.places(&q)
		return ok && (from.name() == src && to.name() == dst || from.name() == dst && to.name() == src)
	})
}

// canCause tells whether what is found at a device can be what another node sees: what is late waits somewhere; what is lost is dropped, or
// waits for so long that it is sent again.
func canCause(l, r *diagnose.Finding) bool {
	switch {
	case l.Severity != diagnose.Critical && l.Severity != diagnose.Warning:
		return false
	case l.Cause == diagnose.RequestsUnanswered:
		return r.Cause == l.Cause
	case r.Cause == diagnose.RemoteDelay, r.Cause == diagnose.RequestsSlow, r.Cause == diagnose.ServerSlow:
		return l.Kind == diagnose.KindDelay
	case l.Kind == diagnose.KindDelay:
		return l.Severity == diagnose.Critical
	}
	return true
}

// grouped makes one of the same finding on several nodes, the one that is worst.
func (g *merger) grouped() (out []Finding) {
	for _, f := range g.local {
		at := slices.IndexFunc(out, func(o Finding) bool { return same(&o.Finding, &f.Finding) && !slices.Contains(o.Nodes, f.Nodes[0]) })
		if at < 0 {
			out = append(out, f)
			continue
		}
		o := &out[at]
		o.Nodes = append(o.Nodes, f.Nodes...)
		o.addSeen(f.SeenFrom)
		addPairs(&o.Finding, &f.Finding)
	}
	return out
}

// addSeen adds what other nodes see, each once: one that sees the same of several nodes says it in the same words.
func (f *Finding) addSeen(seen []Observation) {
	for _, o := range seen {
		if !slices.Contains(f.SeenFrom, o) {
			f.SeenFrom = append(f.SeenFrom, o)
		}
	}
}

// same tells whether two nodes find the same: one cause, at what has one name on both.
func same(x, y *diagnose.Finding) bool {
	return x.Cause == y.Cause && x.Stage == y.Stage && x.Device == y.Device && x.Direction == y.Direction
}

// maxPairs is how many pairs a finding names.
const maxPairs = 10

// addPairs adds another finding's pairs to a finding's.
func addPairs(f, other *diagnose.Finding) {
	f.PairsTotal += other.PairsTotal
	for _, p := range other.Pairs {
		if slices.ContainsFunc(f.Pairs, func(q diagnose.Pair) bool { return q.Src == p.Src && q.Dst == p.Dst }) {
			f.PairsTotal--
		} else if len(f.Pairs) < maxPairs {
			f.Pairs = append(f.Pairs, p)
		}
	}
}

// summarize says it in a sentence.
func summarize(r *Report) string {
	nodes := map[diagnose.Verdict][]string{}
	for _, n := range r.Nodes {
		nodes[n.Verdict] = append(nodes[n.Verdict], n.Name)
	}
	var without []string
	if missing := nodes[""]; len(missing) > 0 && len(missing) < len(r.Nodes) {
		without = append(without, list(missing)+" did not answer")
	}
	if idle := nodes[diagnose.NoTraffic]; len(idle) > 0 && r.Verdict != diagnose.NoTraffic {
		without = append(without, list(idle)+" saw no packet of a pod")
	}
	if r.NotAsked != "" {
		without = append(without, r.NotAsked)
	}
	return strings.Join(append([]string{principal(r, nodes)}, without...), "; ")
}

// principal is what matters most.
func principal(r *Report, nodes map[diagnose.Verdict][]string) string {
	healthy := fmt.Sprintf("no fault on %d of %d nodes", len(nodes[diagnose.Healthy]), len(r.Nodes))
	switch r.Verdict {
	case diagnose.Fault:
		if len(r.Findings) == 0 { // of a kind that is not known here
			return list(nodes[diagnose.Fault]) + ": a fault that this version of kubectl tracer does not know"
		}
		text := r.Findings[0].sentence()
		others := 0
		for _, f := range r.Findings[1:] {
			if f.Finding.Severity == diagnose.Critical {
				others++
			}
		}
		switch {
		case others == 1:
			text += "; 1 more fault"
		case others > 1:
			text += fmt.Sprintf("; %d more faults", others)
		}
		return text
	case diagnose.Blind:
		switch blind := nodes[diagnose.Blind]; {
		case len(nodes[""]) == len(r.Nodes):
			return "no agent answered"
		case len(blind) > 0:
			return list(blind) + ": too few of the packets were seen to say how they fare"
		}
		return healthy
	case diagnose.NoTraffic:
		return "no node saw a packet of a pod"
	}
	if len(r.Findings) > 0 && r.Findings[0].Finding.Severity == diagnose.Warning {
		return healthy + "; a warning: " + r.Findings[0].sentence()
	}
	return healthy
}

// sentence says where it is, what it does, and who sees it besides.
func (f *Finding) sentence() string {
	text := f.Finding.Sentence()
	switch {
	case f.Finding.Cause == diagnose.Wire: // it names its ends
		return text
	case len(f.Nodes) > 1:
		text = fmt.Sprintf("%s; worst on %s: %s", list(f.Nodes), f.Nodes[0], text)
	default:
		text = f.Nodes[0] + ": " + text
	}
	if len(f.SeenFrom) > 0 {
		var from []string
		for _, o := range f.SeenFrom {
			if text := fmt.Sprintf("%s (%s)", o.Node, o.Cause); !slices.Contains(from, text) {
				from = append(from, text)
			}
		}
		text += "; seen from " + list(from)
	}
	return text
}

// maxNamed is how many nodes a sentence names.
const maxNamed = 3

// list joins names, and counts those beyond maxNamed.
func list(names []string) string {
	if len(names) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}
