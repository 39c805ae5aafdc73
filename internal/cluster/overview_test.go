package cluster

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// flowRow is a flow as a node in node scope sees it: only its own end has a name.
func flowRow(direction journey.Direction, src, dst string, pps, mean float64, device string) overview.Row {
	r := overview.Row{
		Src: overview.Party{Workload: "_unknown", Address: src}, Dst: overview.Party{Workload: "_unknown", Address: dst}, Protocol: "tcp",
		Direction: direction, PacketsPerSecond: pps, BitsPerSecond: 100 * pps, Path: &overview.Delay{P50: mean, P99: 2 * mean}, Pain: mean * pps,
		Stages: []overview.Stage{{Place: overview.Place{Stage: journey.Queue, Device: device}, Packets: uint64(pps), Mean: mean, Share: 1, Slow: mean > 0.1}},
	}
	return r
}

// shopMap has web on node-a, api on node-b and node-c, and a Service.
func shopMap() Map {
	a := netip.MustParseAddr
	return Map{
		Places: map[netip.Addr]Place{
			a("10.1.0.2"): {"shop", "web", "node-a"}, a("10.2.0.3"): {"shop", "api", "node-b"}, a("10.3.0.3"): {"shop", "api", "node-c"},
			a("192.0.2.1"): {Node: "node-a"},
		},
		Services: map[netip.Addr]string{a("10.96.0.10"): "shop/api"},
	}
}

func twoHalves() []Seen {
	out := flowRow(journey.Out, "10.1.0.2:4000", "10.2.0.3:80", 50, 0.5, "tunl0")
	out.Service, out.Drops = "10.96.0.10:80", overview.Drops{Packets: 5, PerSecond: 0.5, Reason: "QDISC_DROP"}
	out.TCP = &overview.TCP{RTTMean: new(0.51), Retransmits: 3, PerSecond: 0.3}
	more := flowRow(journey.Out, "10.1.0.2:4001", "10.3.0.3:80", 10, 0.001, "tunl0")
	more.Service = "10.96.0.10:80"
	in := flowRow(journey.In, "10.1.0.2:4000", "10.2.0.3:80", 45, 0.00002, "pod")
	outside := flowRow(journey.Out, "192.0.2.1:5000", "203.0.113.9:443", 1, 0.00001, "eth0")
	outside.Dst.Workload = "_external"
	low := 0.5
	return []Seen{
		{Node: "node-a", Overview: &overview.Overview{
			About: overview.About{Version: "v1", Kernel: "6.12", HooksUp: 10, HooksMissing: []string{"egress tunl0: gone"}, SampleRatio: 1, WatchedOneIn: 4}, WindowSeconds: 1,
			VerdictWindowSeconds: 15, Verdict: diagnose.Fault, Summary: "bad", By: overview.ByFlow, RowsTotal: 7, Rows: []overview.Row{out, more, outside},
			Findings: []diagnose.Finding{{Cause: "qdisc-delay", Severity: diagnose.Critical, Kind: diagnose.KindDelay, Stage: journey.Queue, Device: "tunl0", Text: "tunl0 holds packets"}},
			Coverage: []diagnose.Coverage{{Device: "tunl0", Direction: journey.Out, Ratio: &low}},
			Devices:  []overview.Device{{Name: "tunl0"}},
		}},
		{Node: "node-b", Overview: &overview.Overview{
			About: overview.About{Version: "v1", Kernel: "5.10", HooksUp: 9, SampleRatio: 1}, VerdictWindowSeconds: 15, Verdict: diagnose.Healthy, By: overview.ByFlow,
			Rows: []overview.Row{in}, RowsTotal: 1, Devices: []overview.Device{{Name: "tunl0"}},
		}},
		{Node: "node-c", Err: errors.New("no answer within 1s")},
	}
}

// TestOverview has each pair once, with what both ends' nodes saw, joined by addresses and named by the API server.
func TestOverview(t *testing.T) {
	t.Parallel()
	o := Overview(twoHalves(), shopMap(), overview.Query{By: overview.ByPair}, "")
	if len(o.Rows) != 2 || o.RowsTotal != 2 {
		t.Fatalf("%d rows: %+v", len(o.Rows), o.Rows)
	}
	r := o.Rows[0]
	if r.Src.String() != "shop/web" || r.Dst.String() != "shop/api" || r.Service != "shop/api" || r.Direction != both || !slices.Equal(r.Nodes, []string{"node-a", "node-b"}) {
		t.Errorf("%s → %s by %q, %s, %v", r.Src, r.Dst, r.Service, r.Direction, r.Nodes)
	}
	if r.PacketsPerSecond != 60 || r.BitsPerSecond != 6000 || r.Drops.Packets != 5 || r.Drops.Reason != "QDISC_DROP" || r.Path.P99 != 1 {
		t.Errorf("%+v", r)
	}
	if r.TCP == nil || r.TCP.Retransmits != 3 || *r.TCP.RTTMean != 0.51 {
		t.Errorf("TCP %+v", r.TCP)
	}
	if r.Worst == nil || r.Worst.String() != "queue node-a:tunl0" || len(r.Stages) != 2 || r.Stages[1].Device != "node-b:pod" || !r.Stages[0].Slow || r.Stages[0].Share < 0.99 {
		t.Errorf("stages %+v, worst %v", r.Stages, r.Worst)
	}
	if own := o.Rows[1]; own.Src.String() != "node/node-a" || own.Dst.String() != "_external" || own.Direction != journey.Out {
		t.Errorf("%s → %s, %s", own.Src, own.Dst, own.Direction)
	}
	if o.Verdict != diagnose.Fault || !strings.Contains(o.Summary, "node-a") || !strings.Contains(o.Summary, "node-c did not answer") {
		t.Errorf("%s: %s", o.Verdict, o.Summary)
	}
	if len(o.Findings) != 1 || o.Findings[0].Device != "node-a:tunl0" || !strings.HasPrefix(o.Sentences[0], "node-a: ") {
		t.Errorf("findings %+v, %q", o.Findings, o.Sentences)
	}
	if len(o.Devices) != 2 || o.Devices[0].Name != "node-a:tunl0" || o.Coverage[0].Device != "node-a:tunl0" || o.HooksUp != 19 || len(o.HooksMissing) != 1 || o.WatchedOneIn != 4 {
		t.Errorf("devices %+v, coverage %+v, hooks %d %q", o.Devices, o.Coverage, o.HooksUp, o.HooksMissing)
	}
	if n := o.Nodes; len(n) != 3 || n[0].RowsLeftOut != 4 || len(n[0].Causes) != 1 || *n[0].Coverage != 0.5 || n[2].Error == "" {
		t.Errorf("nodes %+v", n)
	}
}

// TestOverviewKinds has the same by flow and by Service, filtered and one pair in detail.
func TestOverviewKinds(t *testing.T) {
	t.Parallel()
	flows := Overview(twoHalves(), shopMap(), overview.Query{By: overview.ByFlow}, "").Rows
	if len(flows) != 3 || flows[0].Dst.Address != "10.2.0.3:80" || flows[0].Protocol != "tcp" || flows[0].Direction != both || flows[0].PacketsPerSecond != 50 {
		t.Errorf("flows %+v", flows)
	}
	services := Overview(twoHalves(), shopMap(), overview.Query{By: overview.ByService}, "").Rows
	if len(services) != 2 || services[0].Service != "shop/api" || services[0].Pairs != 1 || services[1].Dst.Workload != "_external" {
		t.Errorf("services %+v", services)
	}
	filter, err := overview.ParseFilter("device=node-b drops>0")
	if err != nil {
		t.Fatal(err)
	}
	if rows := Overview(twoHalves(), shopMap(), overview.Query{By: overview.ByPair, Filter: filter}, "").Rows; len(rows) != 1 || rows[0].Src.Workload != "web" {
		t.Errorf("filtered %+v", rows)
	}
	all := Overview(twoHalves(), shopMap(), overview.Query{By: overview.ByPair}, "")
	key := all.Rows[0].Key()
	if d := Overview(twoHalves(), shopMap(), overview.Query{By: overview.ByDevice, Pair: &key}, ""); d.Rows != nil || d.Detail.Row.PacketsPerSecond != 60 {
		t.Errorf("detail %+v", d.Detail)
	}
}

// TestOverviewOfNobody is of agents none of which answered.
func TestOverviewOfNobody(t *testing.T) {
	t.Parallel()
	o := Overview([]Seen{{Node: "node-a", Err: errors.New("gone")}}, Map{}, overview.Query{By: overview.ByPair}, "")
	if o.Verdict != diagnose.Blind || o.Summary != "no agent answered" || len(o.Rows) != 0 || o.Rows == nil {
		t.Errorf("%s: %s, %+v", o.Verdict, o.Summary, o.Rows)
	}
}
