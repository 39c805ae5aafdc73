package agent

import (
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// TestPolicers reads the policers of workloads for a minute after tc was found to drop what they send, and not too often; else none.
func TestPolicers(t *testing.T) {
	t.Parallel()
	var p policers
	now := time.Unix(1000, 0)
	pod := func(index int, workload string) netdev.Device {
		return netdev.Device{Index: index, Role: netdev.RolePod, Clsact: true, Workload: workload}
	}
	devices := []netdev.Device{
		pod(1, "default/web"), {Index: 2, Role: netdev.RolePod, Workload: "default/web"}, {Index: 3, Role: netdev.RoleUplink, Clsact: true}, pod(4, "default/db"),
	}
	asked := 0
	rates := func() (web, db uint64) {
		found := p.of(devices, now, func(of []int) map[int]uint64 {
			asked += len(of)
			all := map[int]uint64{}
			for _, index := range of {
				all[index] = 5000
			}
			return all
		})
		return found[0].Policer, found[3].Policer
	}
	check := func(about string, wantWeb, wantDB uint64, wantAsked int) {
		t.Helper()
		if web, db := rates(); web != wantWeb || db != wantDB || asked != wantAsked {
			t.Errorf("%s: %d, %d; %d devices were asked, want %d", about, web, db, asked, wantAsked)
		}
	}
	finding := func(cause diagnose.Cause, reason, from string) []diagnose.Finding {
		return []diagnose.Finding{{Cause: cause, Device: "pod", Drops: &diagnose.Drops{Reason: reason}, Pairs: []diagnose.Pair{{Src: from}}}}
	}
	p.watch(finding(diagnose.QdiscDrop, "QDISC_DROP", "default/web"), now)
	check("another cause", 0, 0, 0)
	p.watch(finding(diagnose.PolicyDrop, "TC_INGRESS", "default/web"), now)
	check("of one workload", 5000, 0, 1)
	now = now.Add(time.Second)
	p.watch(finding(diagnose.PolicyDrop, "TC_INGRESS", "default/web"), now)
	check("too early", 5000, 0, 1)
	p.watch(finding(diagnose.PolicyDrop, "TC_INGRESS", "default/db"), now)
	check("another workload at once", 5000, 5000, 3)
	now = now.Add(policersEvery)
	check("again", 5000, 5000, 5)
	now = now.Add(2 * policedFor)
	check("long after", 0, 0, 5)
}
