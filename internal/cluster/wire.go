package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// between are findings of what no node has at its own devices. Where the other end's node was asked and finds nothing, it is on
// the wire between the two; where it was not, it may be there.
func (g *merger) between() (out []Finding) {
	var wire []remote
	for _, r := range g.beyond {
		if slices.ContainsFunc(r.peers, func(peer string) bool { return g.answered[peer] }) {
			wire = append(wire, r)
			continue
		}
		f := Finding{Finding: r.finding, Nodes: []string{r.node}, SeenFrom: []Observation{}}
		for _, peer := range r.peers {
			if peer != "" {
				f.Finding.Evidence = append(slices.Clone(f.Finding.Evidence), peer+", where the other end is, was not asked or did not answer: it may be there")
			}
		}
		out = append(out, f)
	}
	if len(wire) > 0 {
		out = append(out, g.wire(wire))
	}
	return out
}

// link is a pair of nodes, in the order of their names.
type link struct{ a, b string }

// wire is one finding of all that is lost or late between nodes.
func (g *merger) wire(found []remote) Finding {
	slices.SortStableFunc(found, func(x, y remote) int { return rank(x.finding.Severity) - rank(y.finding.Severity) })
	f := Finding{Finding: found[0].finding, SeenFrom: []Observation{}}
	f.Finding.Cause = Wire
	var links []link
	for _, r := range found {
		f.SeenFrom = append(f.SeenFrom, Observation{r.node, r.finding.Cause, r.finding.Severity, r.finding.Sentence()})
		for _, peer := range r.peers {
			if l := (link{min(r.node, peer), max(r.node, peer)}); g.answered[peer] && !slices.Contains(links, l) {
				links = append(links, l)
			}
		}
	}
	where, nodes := g.where(links)
	f.Nodes = nodes
	f.Finding.Text = fmt.Sprintf("the wire %s: %s", where, found[0].finding.Sentence())
	f.Finding.Evidence = append([]string{"no node finds it at its own devices, so it is between them: " + describe(links)}, f.Finding.Evidence...)
	f.Finding.Next = []string{"mtr -n -z ADDRESS # of the other node, from " + links[0].a, "ip -s -s link show # at both: errors and drops of the cards"}
	return f
}

// where says what the links have in common: the least that explains them.
func (g *merger) where(links []link) (string, []string) {
	if len(links) == 1 {
		return fmt.Sprintf("between %s and %s", links[0].a, links[0].b), []string{links[0].a, links[0].b}
	}
	var all []string
	for _, l := range links {
		for _, n := range []string{l.a, l.b} {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	for _, n := range all {
		if !slices.ContainsFunc(links, func(l link) bool { return l.a != n && l.b != n }) {
			return fmt.Sprintf("of %s, to %d nodes", n, len(links)), []string{n}
		}
	}
	if x, y, ok := g.zones(links); ok && x != y {
		return fmt.Sprintf("between the zones %s and %s", x, y), all
	}
	return fmt.Sprintf("between %d pairs of nodes", len(links)), all
}

// zones are those between which all links are; false if they are not between two alone.
func (g *merger) zones(links []link) (x, y string, ok bool) {
	for i, l := range links {
		a, b := g.known.Zones[l.a], g.known.Zones[l.b]
		a, b = min(a, b), max(a, b)
		if a == "" || i > 0 && (a != x || b != y) {
			return "", "", false
		}
		x, y = a, b
	}
	return x, y, true
}

func describe(links []link) string {
	var out []string
	for i, l := range links {
		if i == maxNamed {
			out = append(out, fmt.Sprintf("%d more", len(links)-i))
			break
		}
		out = append(out, l.a+" – "+l.b)
	}
	return strings.Join(out, ", ")
}
