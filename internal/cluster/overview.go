package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
)

// Seen is what a node's agent saw by flow, or why it did not answer.
type Seen struct {
	Node     string
	Overview *overview.Overview // nil if it did not answer
	Err      error              // why
}

// Overview makes one of the nodes': each pair of workloads is one row, with what both ends' nodes saw of its packets. Packets are joined by
// their addresses, and ends have the names that the API server knows. notAsked is as Merge has it.
func Overview(all []Seen, m Map, q overview.Query, notAsked string) *overview.Overview {
	o, _, _ := join(all, m, q, notAsked)
	return o
}

// join makes an Overview, and has what it is made of: the nodes' reports as one, and their flows.
func join(all []Seen, m Map, q overview.Query, notAsked string) (*overview.Overview, Report, flows) {
	o := &overview.Overview{
		SchemaVersion: overview.SchemaVersion, By: q.By, Findings: []diagnose.Finding{}, Sentences: []string{}, Coverage: []diagnose.Coverage{},
		Devices: []overview.Device{}, InFlight: []overview.InFlight{}, Drops: []overview.Drop{}, Nodes: []overview.Node{},
	}
	o.Node, o.HooksMissing = fmt.Sprintf("cluster of %d nodes", len(all)), []string{}
	rows := flows{known: &m}
	var answers []Answer
	var versions, kernels []string
	var sampled, counted float64
	for _, s := range all {
		if s.Overview == nil {
			answers = append(answers, Answer{Node: s.Node, Err: s.Err})
			o.Nodes = append(o.Nodes, overview.Node{Name: s.Node, Error: s.Err.Error(), Causes: []diagnose.Cause{}})
			continue
		}
		n := s.Overview
		answers = append(answers, Answer{Node: s.Node, Version: n.Version, Report: &diagnose.Report{
			Node: s.Node, WindowSeconds: n.VerdictWindowSeconds, Verdict: n.Verdict, Summary: n.Summary, Findings: n.Findings,
		}})
		o.Nodes = append(o.Nodes, nodeOf(s.Node, n))
		versions, kernels = append(versions, n.Version), append(kernels, n.Kernel)
		o.SchemaVersion = max(o.SchemaVersion, n.SchemaVersion)
		if n.Taken.After(o.Taken) {
			o.Taken = n.Taken
		}
		o.WindowSeconds, o.VerdictWindowSeconds = max(o.WindowSeconds, n.WindowSeconds), max(o.VerdictWindowSeconds, n.VerdictWindowSeconds)
		o.MissedPerSecond += n.MissedPerSecond
		o.RecordsMissed += n.RecordsMissed
		o.WatchedOneIn = max(o.WatchedOneIn, n.WatchedOneIn)
		o.HooksUp += n.HooksUp
		sampled, counted = sampled+n.SampleRatio, counted+1
		addNode(o, s.Node, n)
		rows.add(s.Node, n.Rows)
	}
	o.Version, o.Kernel = strings.Join(distinct(versions), ", "), strings.Join(distinct(kernels), ", ")
	if counted > 0 {
		o.SampleRatio = sampled / counted
	}
	slices.SortStableFunc(o.Coverage, func(x, y diagnose.Coverage) int { return cmp.Compare(ratio(&x), ratio(&y)) })
	r := Merge(answers, m, notAsked)
	o.Verdict, o.Summary = r.Verdict, r.Summary
	for i := range r.Findings {
		f := r.Findings[i]
		o.Sentences = append(o.Sentences, f.sentence())
		if len(f.Nodes) == 1 && f.Finding.Device != "" {
			f.Finding.Device = at(f.Nodes[0], f.Finding.Device)
		}
		o.Findings = append(o.Findings, f.Finding)
	}
	pairs := rows.by(overview.ByPair)
	for i := range pairs {
		o.PacketsPerSecond += pairs[i].PacketsPerSecond
		o.BitsPerSecond += pairs[i].BitsPerSecond
	}
	if q.Pair != nil {
		o.Detail = &overview.Detail{Row: overview.Row{
			Src: overview.Party{Namespace: q.Pair.SrcNamespace, Workload: q.Pair.SrcWorkload},
			Dst: overview.Party{Namespace: q.Pair.DstNamespace, Workload: q.Pair.DstWorkload}, Direction: q.Pair.Direction, Stages: []overview.Stage{},
		}, InFlight: []overview.InFlight{}, Drops: []overview.Drop{}, History: []overview.Trend{}}
		if i := slices.IndexFunc(pairs, func(r overview.Row) bool { return r.Key() == *q.Pair }); i >= 0 {
			o.Detail.Row = pairs[i]
		}
	}
	if q.By != overview.ByDevice {
		shown := pairs
		if q.By != overview.ByPair {
			shown = rows.by(q.By)
		}
		shown = q.Filter.Apply(slices.Clone(shown))
		o.RowsTotal, o.Rows = len(shown), q.Sort.Rows(shown, q.Limit)
	}
	return o, r, rows
}

// nodeOf is a node's row.
func nodeOf(name string, o *overview.Overview) overview.Node {
	n := overview.Node{
		Name: name, Version: o.Version, Kernel: o.Kernel, HooksUp: o.HooksUp, HooksMissing: len(o.HooksMissing), Verdict: o.Verdict, Summary: o.Summary,
		PacketsPerSecond: o.PacketsPerSecond, BitsPerSecond: o.BitsPerSecond, Causes: []diagnose.Cause{}, RowsLeftOut: o.RowsTotal - len(o.Rows),
	}
	for i := range o.Drops {
		n.DropsPerSecond += o.Drops[i].PerSecond
	}
	for i := range o.Coverage {
		if r := o.Coverage[i].Ratio; r != nil && (n.Coverage == nil || *r < *n.Coverage) {
			n.Coverage = r
		}
	}
	for i := range o.Findings {
		if f := &o.Findings[i]; f.Severity != diagnose.Info && !slices.Contains(n.Causes, f.Cause) {
			n.Causes = append(n.Causes, f.Cause)
		}
	}
	return n
}

// addNode adds what a node has of its own, at devices that are named with it.
func addNode(o *overview.Overview, node string, n *overview.Overview) {
	for _, h := range n.HooksMissing {
		o.HooksMissing = append(o.HooksMissing, node+": "+h)
	}
	for _, c := range n.Coverage {
		c.Device = at(node, c.Device)
		o.Coverage = append(o.Coverage, c)
	}
	for _, d := range n.Devices {
		d.Name = at(node, d.Name)
		o.Devices = append(o.Devices, d)
	}
	for _, x := range n.InFlight {
		x.Device = at(node, x.Device)
		o.InFlight = append(o.InFlight, x)
	}
	for _, x := range n.Drops {
		x.Device = at(node, x.Device)
		o.Drops = append(o.Drops, x)
	}
}

// at is a device's name in a cluster; "" stays, and so does a node's own name of it.
func at(node, device string) string {
	if device == "" || node == "" {
		return device
	}
	return node + ":" + device
}

func ratio(c *diagnose.Coverage) float64 {
	if c.Ratio == nil {
		return 1
	}
	return *c.Ratio
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// party is who has an address: by the API server, else by the agent that saw it.
func (m *Map) party(address netip.Addr, seen overview.Party) overview.Party {
	place, known := m.Places[address]
	switch {
	case !known:
		return overview.Party{Namespace: seen.Namespace, Workload: seen.Workload}
	case place.Workload == "":
		return overview.Party{Workload: "node/" + place.Node}
	}
	return overview.Party{Namespace: place.Namespace, Workload: place.Workload}
}
