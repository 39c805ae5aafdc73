package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// TestWhole has a pair once whose ends' nodes name it differently, each node's half as that node's own page has it, and the nodes in the
// order in which somebody is to look.
func TestWhole(t *testing.T) {
	t.Parallel()
	taken := time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)
	seen := twoHalves()
	a, b := seen[0].Overview, seen[1].Overview
	b.Taken = taken
	for i := range a.Rows { // node scope: a names its own pods, and b its own
		a.Rows[i].Src = overview.Party{Namespace: "shop", Workload: "web", Address: a.Rows[i].Src.Address}
	}
	b.Rows[0].Dst = overview.Party{Namespace: "shop", Workload: "api", Address: b.Rows[0].Dst.Address}
	b.Rows[0].NoAnswer = &overview.NoAnswer{Seconds: 9}
	seen = append(seen, Seen{Node: "node-0", Overview: &overview.Overview{Verdict: diagnose.Healthy, RowsTotal: 0, Rows: []overview.Row{}}})
	w := NewWhole(seen, shopMap(), overview.Filter{}, 10, "not all")
	if w.Verdict != diagnose.Fault || w.NotAsked != "not all" || len(w.Findings) != 1 || w.Findings[0].Nodes[0] != "node-a" || w.Findings[0].Finding.Device != "tunl0" || !w.Taken.Equal(taken) {
		t.Errorf("%s, %+v at %v", w.Verdict, w.Findings, w.Taken)
	}
	var order string
	for _, n := range w.Nodes {
		order += n.Name + " "
	}
	if n := w.Nodes; order != "node-a node-c node-0 node-b " || *n[0].Coverage != 0.5 || n[0].Summary != "bad" || n[0].RowsLeftOut != 4 || n[1].Error != "no answer within 1s" {
		t.Errorf("nodes %s: %+v", order, w.Nodes)
	}
	if len(w.Pairs) != 2 || w.PairsLeft != 0 {
		t.Fatalf("%d pairs, %d are left out: %+v", len(w.Pairs), w.PairsLeft, w.Pairs)
	}
	p := w.Pairs[0]
	if p.Src.String() != "shop/web" || p.Dst.String() != "shop/api" || p.Service != "shop/api" || p.PacketsPerSecond != 60 || p.DropsPerSecond != 0.5 {
		t.Errorf("%+v", p)
	}
	if len(p.Halves) != 2 {
		t.Fatalf("halves: %+v", p.Halves)
	}
	out, in := p.Halves[0], p.Halves[1]
	if out.Node != "node-a" || out.Dst.String() != "_unknown" || out.Direction != journey.Out || out.PacketsPerSecond != 60 || out.Path.P99 != 1 ||
		len(out.Stages) != 1 || out.Stages[0].Device != "tunl0" || !out.Stages[0].Slow || out.Worst.String() != "queue tunl0" {
		t.Errorf("out: %+v", out)
	}
	if in.Node != "node-b" || in.Src.String() != "_unknown" || in.Dst != (overview.Party{Namespace: "shop", Workload: "api"}) || in.Direction != journey.In ||
		in.PacketsPerSecond != 45 || in.NoAnswer == nil || in.Nodes != nil || in.Stages[0].Device != "pod" {
		t.Errorf("in: %+v", in)
	}
	filter, err := overview.ParseFilter("dst=api nothing")
	if err != nil {
		t.Fatal(err)
	}
	if none := NewWhole(seen, shopMap(), filter, 10, ""); len(none.Pairs) != 0 || none.Pairs == nil {
		t.Errorf("%+v", none.Pairs)
	}
	if few := NewWhole(seen, shopMap(), overview.Filter{}, 1, ""); len(few.Pairs) != 1 || few.PairsLeft != 1 || few.Pairs[0].Src.Workload != "web" {
		t.Errorf("%d are left out of %+v", few.PairsLeft, few.Pairs)
	}
}

// TestWholeWays: what goes back is a pair of its own.
func TestWholeWays(t *testing.T) {
	t.Parallel()
	there := flowRow(journey.Out, "10.1.0.2:4000", "10.2.0.3:80", 5, 0.001, "tunl0")
	back := flowRow(journey.In, "10.2.0.3:80", "10.1.0.2:4000", 4, 0.002, "pod")
	w := NewWhole([]Seen{
		{Node: "node-a", Overview: &overview.Overview{Verdict: diagnose.Healthy, Rows: []overview.Row{there, back}, RowsTotal: 2}},
		{Node: "node-b", Err: errors.New("gone")},
	}, shopMap(), overview.Filter{}, 10, "")
	if len(w.Pairs) != 2 || w.Pairs[0].Src.Workload != "api" || len(w.Pairs[0].Halves) != 1 || len(w.Pairs[1].Halves) != 1 || w.Verdict != diagnose.Blind {
		t.Errorf("%s: %+v", w.Verdict, w.Pairs)
	}
}

// TestWholeOfMany: a cluster of 5,000 nodes is merged at once.
func TestWholeOfMany(t *testing.T) {
	t.Parallel()
	var seen []Seen
	for n := range 5000 {
		o := &overview.Overview{Verdict: diagnose.Healthy, RowsTotal: 5}
		for i := range 5 {
			r := flowRow(journey.Out, fmt.Sprintf("10.%d.%d.2:4000", n/250, n%250), fmt.Sprintf("10.2.0.3:%d", i), 1, 1e-6, "tunl0")
			r.Src.Workload = fmt.Sprintf("web-%d", (n*5+i)%8000)
			o.Rows = append(o.Rows, r)
		}
		seen = append(seen, Seen{Node: fmt.Sprintf("n%d", n), Overview: o})
	}
	w := NewWhole(seen, Map{}, overview.Filter{}, 400, "")
	if len(w.Pairs) != 400 || w.PairsLeft != 7600 || len(w.Nodes) != 5000 || w.Verdict != diagnose.Healthy {
		t.Errorf("%d pairs, %d are left out, %d nodes, %s", len(w.Pairs), w.PairsLeft, len(w.Nodes), w.Verdict)
	}
}

// TestWholeOfNothing: of a cluster where no node has an agent that saw a packet the lists are there, and empty: the page goes through them.
func TestWholeOfNothing(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(NewWhole(nil, Map{}, overview.Filter{}, 10, ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verdict":"no-traffic"`, `"findings":[]`, `"nodes":[]`, `"pairs":[]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
}
