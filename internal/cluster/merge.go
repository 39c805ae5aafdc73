package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tracer/internal/diagnose"
)

// Merge makes one report of the nodes' answers. What a node says of something beyond it is joined with what the other end's node
// finds at its own devices; what no node finds is between the nodes. One thing on many nodes is told once.
func Merge(answers []Answer, m Map) Report {
	g := &merger{known: m, answered: map[string]bool{}}
	r := Report{SchemaVersion: SchemaVersion, Findings: []Finding{}, Nodes: []Node{}}
	for _, a := range answers {
		n := Node{Name: a.Node, Version: a.Version}
		if a.Report == nil {
			n.Error = a.Err.Error()
			r.Nodes = append(r.Nodes, n)
			continue
		}
		g.answered[a.Node] = true
		n.Verdict, n.Summary = a.Report.Verdict, a.Report.Summary
		r.WindowSeconds = max(r.WindowSeconds, a.Report.WindowSeconds)
		r.Nodes = append(r.Nodes, n)
		for _, f := range a.Report.Findings {
			g.add(a.Node, f)
		}
	}
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

func rank(s diagnose.Severity) int {
	return slices.Index([]diagnose.Severity{diagnose.Critical, diagnose.Warning, diagnose.Info}, s)
}

// verdict is a fault if anything is critical. Else it is healthy only if all nodes were asked and saw enough.
func verdict(r *Report) diagnose.Verdict {
	count := map[diagnose.Verdict]int{}
	for _, n := range r.Nodes {
		count[n.Verdict]++
	}
	switch {
	case len(r.Findings) > 0 && r.Findings[0].Finding.Severity == diagnose.Critical:
		return diagnose.Fault
	case count[diagnose.Blind] > 0, count[""] > 0:
		return diagnose.Blind
	case count[diagnose.Healthy] == 0 && count[diagnose.Fault] == 0:
		return diagnose.NoTraffic
	}
	return diagnose.Healthy
}

// merger joins findings of several nodes.
type merger struct {
	known    Map
	answered map[string]bool
	local    []Finding
	beyond   []remote
}

// remote is a finding of something that is not at its node's own devices.
type remote struct {
	node    string
	finding diagnose.Finding
	peers   []string // nodes at the pairs' other ends; "" for one that is not known
}

// add takes a node's finding, with its pairs named as the API server does: only it knows all pods.
func (g *merger) add(node string, f diagnose.Finding) {
	var peers []string
	f.Pairs = slices.Clone(f.Pairs)
	for i := range f.Pairs {
		if peer := g.name(node, &f.Pairs[i]); !slices.Contains(peers, peer) {
			peers = append(peers, peer)
		}
	}
	if isBeyond(&f) {
		g.beyond = append(g.beyond, remote{node, f, peers})
		return
	}
	g.local = append(g.local, Finding{Finding: f, Nodes: []string{node}, SeenFrom: []Observation{}})
}

// isBeyond tells of a finding that is at none of its node's devices.
func isBeyond(f *diagnose.Finding) bool {
	return f.Stage == "" && f.Device == "" && f.Kind != diagnose.KindMisconfiguration
}

// name gives a pair the API server's names, and returns the node of its other end; "" if that is not known.
func (g *merger) name(node string, p *diagnose.Pair) (peer string) {
	if p.Addresses == nil {
		return ""
	}
	for _, end := range []struct {
		address netip.Addr
		name    *string
	}{{p.Addresses.Src, &p.Src}, {p.Addresses.Dst, &p.Dst}} {
		place, ok := g.known.Places[end.address]
		if !ok {
			continue
		}
		if place.Workload != "" {
			*end.name = place.Namespace + "/" + place.Workload
		}
		if place.Node != node {
			peer = place.Node
		}
	}
	return peer
}

// explain takes away what a finding at another node's own device explains.
func (g *merger) explain() {
	g.beyond = slices.DeleteFunc(g.beyond, func(r remote) bool {
		at := slices.IndexFunc(g.local, func(l Finding) bool { return l.explains(&r) })
		if at < 0 {
			return false
		}
		l := &g.local[at]
		l.SeenFrom = append(l.SeenFrom, Observation{r.node, r.finding.Cause, r.finding.Severity, r.finding.Sentence()})
		if rank(r.finding.Severity) < rank(l.Finding.Severity) {
			l.Finding.Severity = r.finding.Severity // it is seen to hurt
		}
		return true
	})
}

// explains tells whether a finding at a node's device is what another node sees: it hurts the same pair, or what comes back.
func (l *Finding) explains(r *remote) bool {
	if l.Nodes[0] == r.node || l.Finding.Severity == diagnose.Info {
		return false
	}
	known := slices.DeleteFunc(slices.Clone(r.peers), func(peer string) bool { return peer == "" })
	if len(known) > 0 && !slices.Contains(known, l.Nodes[0]) {
		return false
	}
	return slices.ContainsFunc(l.Finding.Pairs, func(p diagnose.Pair) bool {
		return slices.ContainsFunc(r.finding.Pairs, func(q diagnose.Pair) bool {
			return p.Src == q.Src && p.Dst == q.Dst || p.Src == q.Dst && p.Dst == q.Src
		})
	})
}

// grouped makes one of the same finding on several nodes, the one that is worst.
func (g *merger) grouped() (out []Finding) {
	slices.SortStableFunc(g.local, func(x, y Finding) int { return cmp.Compare(rank(x.Finding.Severity), rank(y.Finding.Severity)) })
	for _, f := range g.local {
		at := slices.IndexFunc(out, func(o Finding) bool { return same(&o.Finding, &f.Finding) })
		if at < 0 {
			out = append(out, f)
			continue
		}
		out[at].Nodes = append(out[at].Nodes, f.Nodes...)
		out[at].SeenFrom = append(out[at].SeenFrom, f.SeenFrom...)
	}
	return out
}

// same tells whether two nodes find the same: one cause, at what has one name on both.
func same(x, y *diagnose.Finding) bool {
	return x.Cause == y.Cause && x.Stage == y.Stage && x.Device == y.Device && x.Direction == y.Direction
}

// summarize says it in a sentence.
func summarize(r *Report) string {
	var missing []string
	for _, n := range r.Nodes {
		if n.Error != "" {
			missing = append(missing, n.Name)
		}
	}
	without := ""
	if len(missing) > 0 {
		without = fmt.Sprintf(" (without %s, which did not answer)", list(missing))
	}
	asked := fmt.Sprintf("%d of %d nodes", len(r.Nodes)-len(missing), len(r.Nodes))
	switch r.Verdict {
	case diagnose.Fault:
		f := &r.Findings[0]
		text := f.Finding.Sentence()
		if f.Finding.Cause != Wire {
			text = list(f.Nodes) + ": " + text
		}
		if len(f.SeenFrom) > 0 {
			var from []string
			for _, o := range f.SeenFrom {
				from = append(from, fmt.Sprintf("%s (%s)", o.Node, o.Cause))
			}
			text += "; felt by " + list(from)
		}
		if more := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Finding.Severity != diagnose.Critical }); more != 1 && len(r.Findings) > 1 {
			if more < 0 {
				more = len(r.Findings)
			}
			text += fmt.Sprintf("; %d more", more-1)
		}
		return text + without
	case diagnose.Blind:
		if len(missing) == len(r.Nodes) {
			return "no agent answered"
		}
		var blind []string
		for _, n := range r.Nodes {
			if n.Verdict == diagnose.Blind {
				blind = append(blind, n.Name)
			}
		}
		if len(blind) > 0 {
			return fmt.Sprintf("%s: too few of the packets were seen to say how they fare%s", list(blind), without)
		}
		return fmt.Sprintf("%s found no fault at their own devices%s", asked, without)
	case diagnose.NoTraffic:
		return fmt.Sprintf("%s saw no packet of a pod%s", asked, without)
	}
	warnings := 0
	for _, f := range r.Findings {
		if f.Finding.Severity == diagnose.Warning {
			warnings++
		}
	}
	if warnings > 0 {
		f := &r.Findings[0]
		return fmt.Sprintf("no fault on %s; %s: %s", asked, list(f.Nodes), f.Finding.Sentence())
	}
	return fmt.Sprintf("no fault on %s", asked)
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
