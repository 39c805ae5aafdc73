package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// row is a pair's on one node.
func row(src, dst string, direction journey.Direction, pps, pain float64) overview.Row {
	return overview.Row{
		Src: overview.Party{Namespace: "shop", Workload: src}, Dst: overview.Party{Namespace: "shop", Workload: dst}, Direction: direction,
		PacketsPerSecond: pps, BitsPerSecond: 8 * pps, Pain: pain, Drops: overview.Drops{PerSecond: 1},
	}
}

// TestMergeViews: a pair that several nodes see is there once, with each node's half, and nodes stand in the order in which somebody is to look.
func TestMergeViews(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)
	seen := 0.7
	views := []View{
		{Node: "a", Overview: &overview.Overview{
			Taken: at, Verdict: diagnose.Healthy, RowsTotal: 5, About: overview.About{Version: "v1", HooksUp: 9},
			Rows: []overview.Row{row("web", "api", journey.Out, 100, 0.1), row("web", "db", journey.Local, 10, 0)},
		}},
		{Node: "b", Overview: &overview.Overview{
			Taken: at.Add(time.Second), Verdict: diagnose.Fault, RowsTotal: 2, Coverage: []diagnose.Coverage{{}, {Ratio: &seen}},
			Findings: []diagnose.Finding{{Cause: diagnose.QdiscDelay, Severity: diagnose.Critical, Stage: journey.Queue, Device: "tunl0", Direction: journey.In}},
			Rows:     []overview.Row{row("web", "api", journey.In, 90, 5), row("api", "web", journey.Out, 80, 0)},
		}},
		{Node: "c", Overview: &overview.Overview{Taken: at, Verdict: diagnose.Healthy, RowsTotal: 1, Rows: []overview.Row{row("web", "api", journey.Out, 50, 0)}}},
		{Node: "d", Err: errors.New("no agent runs there")},
	}
	o := MergeViews(views, Map{}, "", 10)
	if o.Verdict != diagnose.Fault || len(o.Findings) != 1 || o.Findings[0].Nodes[0] != "b" || !o.Taken.Equal(at.Add(time.Second)) {
		t.Errorf("%s, %+v at %v", o.Verdict, o.Findings, o.Taken)
	}
	var order string
	for _, n := range o.Nodes {
		order += n.Name
	}
	if order != "bdac" || o.Nodes[0].Seen == nil || *o.Nodes[0].Seen != 0.7 || o.Nodes[1].Error != "no agent runs there" || o.Nodes[2].HooksUp != 9 {
		t.Errorf("nodes %s: %+v", order, o.Nodes)
	}
	if len(o.Pairs) != 3 || o.PairsLeft != 3 {
		t.Fatalf("%d pairs, %d rows are left out", len(o.Pairs), o.PairsLeft)
	}
	p := o.Pairs[0]
	if p.Src.Workload != "web" || p.Dst.Workload != "api" || p.PacketsPerSecond != 150 || p.BitsPerSecond != 1200 || p.Pain != 5.1 || p.DropsPerSecond != 3 {
		t.Errorf("%+v", p)
	}
	if len(p.Halves) != 3 || p.Halves[0].Node != "b" || p.Halves[1].Node != "a" {
		t.Errorf("halves: %+v", p.Halves)
	}
	if o.Pairs[1].Src.Workload != "api" || o.Pairs[1].PacketsPerSecond != 80 {
		t.Errorf("the way back: %+v", o.Pairs[1])
	}
	if few := MergeViews(views, Map{}, "", 1); len(few.Pairs) != 1 || few.PairsLeft != 5 {
		t.Errorf("%d pairs, %d rows are left out", len(few.Pairs), few.PairsLeft)
	}
}

// TestMergeManyViews: a cluster of 5,000 nodes is merged at once.
func TestMergeManyViews(t *testing.T) {
	t.Parallel()
	var views []View
	for n := range 5000 {
		o := &overview.Overview{Verdict: diagnose.Healthy, RowsTotal: 5}
		for i := range 5 {
			o.Rows = append(o.Rows, row(fmt.Sprintf("web-%d", (n*5+i)%8000), "api", journey.Out, 1, 0))
		}
		views = append(views, View{Node: fmt.Sprintf("n%d", n), Overview: o})
	}
	o := MergeViews(views, Map{}, "", 400)
	if len(o.Pairs) != 400 || len(o.Nodes) != 5000 || o.Verdict != diagnose.Healthy {
		t.Errorf("%d pairs, %d nodes, %s", len(o.Pairs), len(o.Nodes), o.Verdict)
	}
}
