package cluster

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// View is what a node's agent shows, or why it does not.
type View struct {
	Node     string
	Overview *overview.Overview // nil if it did not answer
	Err      error              // why
}

// Whole is a cluster as people look at it: what is wrong, its nodes, its pairs.
type Whole struct {
	SchemaVersion int              `json:"schema_version"`
	Taken         time.Time        `json:"taken"`
	Verdict       diagnose.Verdict `json:"verdict"`
	Summary       string           `json:"summary"`
	Findings      []Finding        `json:"findings"` // the principal one first
	NotAsked      string           `json:"not_asked"`
	Nodes         []NodeRow        `json:"nodes"` // those with a fault first, then those that did not answer
	Pairs         []Pair           `json:"pairs"` // what hurts most first
	// PairsLeft is how many rows of nodes are in none of the pairs, for there were too many.
	PairsLeft int `json:"pairs_left"`
}

// NodeRow is a node in a list.
type NodeRow struct {
	Name             string           `json:"name"`
	Version          string           `json:"version"` // of its agent
	Kernel           string           `json:"kernel"`
	Verdict          diagnose.Verdict `json:"verdict"` // "" if it did not answer
	Summary          string           `json:"summary"`
	Findings         int              `json:"findings"`
	HooksUp          int              `json:"hooks_up"`
	HooksMissing     int              `json:"hooks_missing"`
	Seen             *float64         `json:"seen"` // the least share of packets seen of its devices, 0 to 1; null if that is not known
	PacketsPerSecond float64          `json:"packets_per_second"`
	BitsPerSecond    float64          `json:"bits_per_second"`
	Error            string           `json:"error"` // why it did not answer
}

// Pair is two workloads, once, whichever nodes see their packets.
type Pair struct {
	Src        overview.Party `json:"src"`
	Dst        overview.Party `json:"dst"`
	Service    string         `json:"service,omitempty"`
	EndpointOf string         `json:"endpoint_of,omitempty"`
	// Of the nodes where packets leave src, or where none does of those where they come to dst.
	PacketsPerSecond float64 `json:"packets_per_second"`
	BitsPerSecond    float64 `json:"bits_per_second"`
	DropsPerSecond   float64 `json:"drops_per_second"` // on all nodes
	Pain             float64 `json:"pain"`             // on all nodes, in seconds each second
	Halves           []Half  `json:"halves"`           // what hurts most first
}

// Half is what one node sees of a pair.
type Half struct {
	Node string `json:"node"`
	overview.Row
}

// MergeViews makes one overview of the nodes' own, of at most so many pairs.
func MergeViews(views []View, m Map, notAsked string, most int) Whole {
	o := Whole{SchemaVersion: SchemaVersion, Nodes: []NodeRow{}, Pairs: []Pair{}}
	answers := make([]Answer, 0, len(views))
	for _, v := range views {
		row := NodeRow{Name: v.Node}
		answer := Answer{Node: v.Node, Err: v.Err}
		if n := v.Overview; n == nil {
			row.Error = v.Err.Error()
		} else {
			answer.Version = n.Version
			answer.Report = &diagnose.Report{
				Node: v.Node, Verdict: n.Verdict, Summary: n.Summary, Findings: n.Findings, WindowSeconds: n.VerdictWindowSeconds, Coverage: n.Coverage,
			}
			row = NodeRow{
				Name: v.Node, Version: n.Version, Kernel: n.Kernel, Verdict: n.Verdict, Summary: n.Summary, Findings: len(n.Findings), HooksUp: n.HooksUp,
				HooksMissing: len(n.HooksMissing), Seen: leastSeen(n.Coverage), PacketsPerSecond: n.PacketsPerSecond, BitsPerSecond: n.BitsPerSecond,
			}
			if n.Taken.After(o.Taken) {
				o.Taken = n.Taken
			}
			o.PairsLeft += n.RowsTotal - len(n.Rows)
		}
		answers = append(answers, answer)
		o.Nodes = append(o.Nodes, row)
	}
	r := Merge(answers, m, notAsked)
	o.Verdict, o.Summary, o.Findings, o.NotAsked = r.Verdict, r.Summary, r.Findings, r.NotAsked
	slices.SortFunc(o.Nodes, func(x, y NodeRow) int {
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), strings.Compare(x.Name, y.Name))
	})
	o.Pairs = pairsOf(views)
	if left := len(o.Pairs) - most; left > 0 {
		for _, p := range o.Pairs[most:] {
			o.PairsLeft += len(p.Halves)
		}
		o.Pairs = o.Pairs[:most]
	}
	return o
}

// rank puts first what somebody is to look at.
func (n *NodeRow) rank() int {
	switch {
	case n.Verdict == diagnose.Fault:
		return 0
	case n.Verdict == "":
		return 1
	case n.Verdict == diagnose.Blind:
		return 2
	case n.Findings > 0:
		return 3
	}
	return 4
}

// leastSeen is the least coverage that is known.
func leastSeen(all []diagnose.Coverage) (least *float64) {
	for i := range all {
		if r := all[i].Ratio; r != nil && (least == nil || *r < *least) {
			least = r
		}
	}
	return least
}

// pairsOf joins the rows of all nodes by the names of their ends, what hurts most first.
func pairsOf(views []View) []Pair {
	type ends struct{ srcNamespace, src, dstNamespace, dst string }
	pairs := []Pair{}
	at := map[ends]int{}
	for _, v := range views {
		if v.Overview == nil {
			continue
		}
		for _, row := range v.Overview.Rows {
			key := ends{row.Src.Namespace, row.Src.Workload, row.Dst.Namespace, row.Dst.Workload}
			i, ok := at[key]
			if !ok {
				i = len(pairs)
				at[key] = i
				pairs = append(pairs, Pair{Src: row.Src, Dst: row.Dst})
			}
			p := &pairs[i]
			p.Service, p.EndpointOf = cmp.Or(p.Service, row.Service), cmp.Or(p.EndpointOf, row.EndpointOf)
			p.DropsPerSecond += row.Drops.PerSecond
			p.Pain += row.Pain
			p.Halves = append(p.Halves, Half{v.Node, row})
		}
	}
	for i := range pairs {
		p := &pairs[i]
		leaves := slices.ContainsFunc(p.Halves, func(h Half) bool { return h.leaves() })
		for _, h := range p.Halves {
			if h.leaves() == leaves {
				p.PacketsPerSecond += h.PacketsPerSecond
				p.BitsPerSecond += h.BitsPerSecond
			}
		}
		slices.SortStableFunc(p.Halves, func(x, y Half) int {
			return cmp.Or(cmp.Compare(y.Pain, x.Pain), strings.Compare(x.Node, y.Node), strings.Compare(string(x.Direction), string(y.Direction)))
		})
	}
	slices.SortStableFunc(pairs, func(x, y Pair) int {
		return cmp.Or(cmp.Compare(y.Pain, x.Pain), cmp.Compare(y.PacketsPerSecond, x.PacketsPerSecond))
	})
	return pairs
}

// leaves tells of the half where packets leave the sender.
func (h *Half) leaves() bool { return h.Direction != journey.In }
