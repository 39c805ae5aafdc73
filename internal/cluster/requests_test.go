package cluster

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/test/steady"
)

// TestDivideCost bounds what it costs to divide slow requests, in passes over all that nodes have answered: 100 nodes have slow requests to
// 10 workloads of 3 pods each, and tell of 100 pairs. Both are measured beside each other by this thread's CPU time, so that it does not matter how
// busy or how fast the machine is.
func TestDivideCost(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const nodes, slow, served, most = 100, 10, 100, 20
	m := Map{Places: map[netip.Addr]Place{}}
	pod := func(node, i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(node), 0, byte(i)}) }
	name := func(node int) string { return fmt.Sprintf("node-%d", (node+nodes)%nodes) }
	for n := range nodes {
		for i := range 30 { // each workload is on three nodes
			m.Places[pod(n, i)] = Place{"shop", fmt.Sprintf("api-%d", n/3*30+i), name(n)}
		}
	}
	var answers []Answer
	for n := range nodes {
		r := &diagnose.Report{Node: name(n), WindowSeconds: 15, Verdict: diagnose.Healthy}
		f := diagnose.Finding{Cause: diagnose.RequestsSlow, Severity: diagnose.Info, Kind: diagnose.KindDelay, PairsTotal: slow}
		for i := range slow {
			f.Pairs = append(f.Pairs, diagnose.Pair{
				Src: "web", Dst: "api", Addresses: &diagnose.PairAddresses{Src: pod(n, i), Dst: pod((n+nodes/2)%nodes, i)},
				Requests: &diagnose.RequestTimes{PerSecond: 200, Timed: 3000, Least: 0.0101, P50: 0.0103, P99: 0.011, Usual: new(0.0022)},
			})
		}
		r.Findings = []diagnose.Finding{f}
		for i := range served {
			r.Served = append(r.Served, diagnose.Pair{
				Src: "web", Dst: "api", Addresses: &diagnose.PairAddresses{Src: pod((n+nodes/2)%nodes, i%30), Dst: pod(n, i%30)},
				Requests: &diagnose.RequestTimes{PerSecond: 200, Timed: 3000, Least: 0.002, P50: 0.0021, P99: 0.003},
			})
		}
		answers = append(answers, Answer{Node: name(n), Report: r})
	}
	pass := func() (sum int) {
		seen := map[string]int{}
		for i := range answers {
			for j := range answers[i].Report.Served {
				p := answers[i].Report.Served[j].Addresses
				seen[m.Places[p.Src].Workload+m.Places[p.Dst].Workload] += j
			}
		}
		return len(seen)
	}
	used := func() time.Duration { return steady.ThreadCPU(t) }
	onePass, merging := time.Hour, time.Hour
	for range 10 {
		began := used()
		pass()
		between := used()
		r := Merge(answers, m, "")
		onePass, merging = min(onePass, between-began), min(merging, used()-between)
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Finding.Cause == diagnose.RequestsSlow }) {
			t.Fatalf("%+v", r.Findings)
		}
	}
	ratio := float64(merging) / float64(onePass)
	t.Logf("a verdict takes %v, as much as %.1f passes", merging, ratio)
	if ratio > most {
		t.Errorf("a verdict costs as much as %.0f passes over what was answered, want %d at most", ratio, most)
	}
}
