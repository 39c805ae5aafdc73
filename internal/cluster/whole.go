package cluster

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/overview"
)

// Whole is a cluster on one page: what is wrong, its nodes, its pairs with what each node saw of them.
type Whole struct {
	SchemaVersion int              `json:"schema_version"`
	Taken         time.Time        `json:"taken"`
	Verdict       diagnose.Verdict `json:"verdict"`
	Summary       string           `json:"summary"`
	Findings      []Finding        `json:"findings"` // the principal one first
	NotAsked      string           `json:"not_asked"`
	Nodes         []overview.Node  `json:"nodes"`      // those with a fault first, then those that did not answer
	Pairs         []Pair           `json:"pairs"`      // what hurts most first
	PairsLeft     int              `json:"pairs_left"` // how many more there are
}

// Pair is two workloads, as a row of an Overview has them.
type Pair struct {
	Src              overview.Party `json:"src"`
	Dst              overview.Party `json:"dst"`
	Service          string         `json:"service,omitempty"`
	EndpointOf       string         `json:"endpoint_of,omitempty"`
	PacketsPerSecond float64        `json:"packets_per_second"`
	BitsPerSecond    float64        `json:"bits_per_second"`
	DropsPerSecond   float64        `json:"drops_per_second"` // on all nodes
	Pain             float64        `json:"pain"`             // on all nodes, in seconds each second
	Halves           []Half         `json:"halves"`           // what hurts most first
}

// Half is what one node saw of a pair, by the names that its agent has for the ends, and of its own devices.
type Half struct {
	Node string `json:"node"`
	overview.Row
}

// NewWhole is of the nodes' overviews by flow, with the pairs that a filter takes, at most so many. notAsked is as Merge has it.
func NewWhole(all []Seen, m Map, filter overview.Filter, most int, notAsked string) Whole {
	o, r, flows := join(all, m, overview.Query{By: overview.ByPair, Filter: filter, Limit: most}, notAsked)
	w := Whole{
		SchemaVersion: SchemaVersion, Taken: o.Taken, Verdict: r.Verdict, Summary: r.Summary, Findings: r.Findings, NotAsked: r.NotAsked,
		Nodes: o.Nodes, Pairs: []Pair{}, PairsLeft: o.RowsTotal - len(o.Rows),
	}
	slices.SortFunc(w.Nodes, func(x, y overview.Node) int {
		return cmp.Or(cmp.Compare(urgency(&x), urgency(&y)), strings.Compare(x.Name, y.Name))
	})
	pairs := flows.pairs()
	for i := range o.Rows {
		p := &o.Rows[i]
		w.Pairs = append(w.Pairs, Pair{
			Src: p.Src, Dst: p.Dst, Service: p.Service, EndpointOf: p.EndpointOf, PacketsPerSecond: p.PacketsPerSecond, BitsPerSecond: p.BitsPerSecond,
			DropsPerSecond: p.Drops.PerSecond, Pain: p.Pain, Halves: halvesOf(pairs[ends{p.Src, p.Dst}]),
		})
	}
	return w
}

// urgency puts first what somebody is to look at.
func urgency(n *overview.Node) int {
	switch {
	case n.Verdict == diagnose.Fault:
		return 0
	case n.Verdict == "":
		return 1
	case n.Verdict == diagnose.Blind:
		return 2
	case len(n.Causes) > 0:
		return 3
	}
	return 4
}

// ends are a pair's.
type ends struct{ src, dst overview.Party }

// pairs are the flows by whose they are.
func (f *flows) pairs() map[ends][]*flow {
	all := map[ends][]*flow{}
	for i := range f.all {
		w := &f.all[i]
		all[ends{w.src, w.dst}] = append(all[ends{w.src, w.dst}], w)
	}
	return all
}

// halvesOf are what each node saw of some flows, what hurts most first.
func halvesOf(some []*flow) []Half {
	type key struct {
		node string
		pair aggregate.PairKey
	}
	own := map[key][]*flow{}
	for _, w := range some {
		for _, h := range w.halves {
			k := key{h.node, h.row.Key()}
			own[k] = append(own[k], &flow{service: w.service, halves: []half{{row: h.row}}})
		}
	}
	halves := make([]Half, 0, len(own))
	for k, seen := range own {
		r := rowOf(seen)
		r.Src = overview.Party{Namespace: k.pair.SrcNamespace, Workload: k.pair.SrcWorkload}
		r.Dst = overview.Party{Namespace: k.pair.DstNamespace, Workload: k.pair.DstWorkload}
		r.Nodes = nil // it is one
		halves = append(halves, Half{k.node, r})
	}
	slices.SortFunc(halves, func(x, y Half) int {
		return cmp.Or(cmp.Compare(y.Pain, x.Pain), strings.Compare(x.Node, y.Node), strings.Compare(string(x.Direction), string(y.Direction)),
			strings.Compare(x.Src.String(), y.Src.String()), strings.Compare(x.Dst.String(), y.Dst.String()))
	})
	return halves
}
