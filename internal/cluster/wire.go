package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"tracer/internal/diagnose"
)

// between are findings of what no node has at its own devices. Where the nodes of the other ends were asked and find nothing that does it,
// what is late or lost is so on the wire; where not all of them can tell, it may be there. That nobody answers may be the application.
func (g *merger) between() (out []Finding) {
	wires := map[diagnose.Cause][]remote{}
	for _, r := range g.beyond {
		unsure := g.unsure(&r)
		mayBe := mayBeApplication(r.finding.Cause)
		if len(unsure) == 0 && mayBe == "" {
			wires[r.finding.Cause] = append(wires[r.finding.Cause], r)
			continue
		}
		if len(unsure) == 0 {
			unsure = []string{mayBe}
		}
		f := Finding{Finding: r.finding, Nodes: []string{r.node}, SeenFrom: []Observation{}}
		f.Finding.Evidence = append(f.Finding.Evidence, unsure...)
		out = append(out, f)
	}
	var all []Finding
	for _, cause := range slices.Sorted(maps.Keys(wires)) {
		f := g.wire(wires[cause])
		at := slices.IndexFunc(all, func(o Finding) bool { return slices.Equal(o.Nodes, f.Nodes) })
		if at < 0 {
			all = append(all, f)
			continue
		}
		// Late and lost between the same nodes are one thing; the worse one tells of it.
		worse, other := all[at], f
		if rank(f.Finding.Severity) < rank(worse.Finding.Severity) {
			worse, other = f, worse
		}
		addPairs(&worse.Finding, &other.Finding)
		worse.addSeen(other.SeenFrom)
		all[at] = worse
	}
	return append(out, all...)
}

// mayBeApplication says why what no node has at its own devices is not the wire's for certain; "" if it is.
func mayBeApplication(c diagnose.Cause) string {
	switch c {
	case diagnose.NoAnswer, diagnose.RequestsUnanswered:
		return "the nodes of the other ends find nothing at their own devices: it is lost between the nodes, or the application does not answer"
	case diagnose.RequestsSlow, diagnose.ServerSlow:
		return "the nodes of the other ends find nothing at their own devices, and what they tell of this pair's requests does not say whose time it is: " +
			"whether the network is slow or the application is not known"
	}
	return ""
}

// unsure says why it may still be at a node's device: a pair's other end is not known, a node did not answer or saw too little, or names
// but some of the pairs that a finding of its own hurts.
func (g *merger) unsure(r *remote) (why []string) {
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	for i := range r.finding.Pairs {
		p := &r.finding.Pairs[i]
		_, _, peers, ok := g.ends(r.node, p)
		if !ok {
			add("on which node the other end of %s → %s is is not known", p.Src, p.Dst)
		}
		for _, peer := range peers {
			if !g.cleared[peer] {
				add("%s, where the other end may be, was not asked, did not answer or saw too little: it may be there", peer)
			}
			for j := range g.local {
				if l := &g.local[j]; l.Nodes[0] == peer && canCause(&l.Finding, &r.finding) && l.Finding.PairsTotal > len(l.Finding.Pairs) {
					add("%s at %s on %s hurts %d pairs, of which %d are named: it may be that", l.Finding.Cause, l.Finding.Device, peer, l.Finding.PairsTotal, len(l.Finding.Pairs))
				}
			}
		}
	}
	if len(r.finding.Pairs) == 0 {
		add("which pairs it hurts is not known")
	}
	return why
}

// link is a pair of nodes, in the order of their names.
type link struct{ a, b string }

// wire is one finding of all that is late, or lost, between nodes.
func (g *merger) wire(found []remote) Finding {
	slices.SortStableFunc(found, func(x, y remote) int { return cmp.Compare(rank(x.finding.Severity), rank(y.finding.Severity)) })
	f := Finding{Finding: found[0].finding, SeenFrom: []Observation{}}
	f.Finding.Cause = diagnose.Wire
	var links []link
	for i, r := range found {
		if i > 0 {
			addPairs(&f.Finding, &r.finding)
		}
		f.SeenFrom = append(f.SeenFrom, Observation{r.node, r.finding.Cause, r.finding.Severity, r.finding.Sentence()})
		for j := range r.finding.Pairs {
			_, _, peers, _ := g.ends(r.node, &r.finding.Pairs[j])
			for _, peer := range peers {
				if l := (link{min(r.node, peer), max(r.node, peer)}); !slices.Contains(links, l) {
					links = append(links, l)
				}
			}
		}
	}
	where, nodes := g.where(links)
	f.Nodes = nodes
	f.Finding.Text = fmt.Sprintf("the wire %s: %s", where, found[0].finding.Sentence())
	f.Finding.Evidence = append([]string{"no node that was asked finds it at its own devices, so it is between them: " + describe(links)}, f.Finding.Evidence...)
	f.Finding.Next = []string{
		fmt.Sprintf("mtr -n -z %s # on %s: to %s", g.addressOf(links[0].b), links[0].a, links[0].b),
		"ip -s -s link show # at both: errors and drops of the cards",
	}
	return f
}

// addressOf is a node's, by which it is reached.
func (g *merger) addressOf(node string) string {
	var found []netip.Addr
	for address, place := range g.known.Places {
		if place.Workload == "" && place.Node == node {
			found = append(found, address)
		}
	}
	if len(found) == 0 {
		return "ADDRESS"
	}
	return slices.MinFunc(found, netip.Addr.Compare).String()
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
