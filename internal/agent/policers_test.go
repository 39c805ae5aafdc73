package agent

import (
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// TestPolicers reads policers for a minute after tc was found to drop what pods send, and else not.
func TestPolicers(t *testing.T) {
	t.Parallel()
	var p policers
	now := time.Unix(1000, 0)
	devices := []netdev.Device{{Index: 1, Role: netdev.RolePod, Clsact: true}, {Index: 2, Role: netdev.RolePod}, {Index: 3, Role: netdev.RoleUplink, Clsact: true}}
	asked := 0
	rate := func() uint64 {
		return p.of(devices, now, func(of []int) map[int]uint64 {
			asked += len(of)
			return map[int]uint64{1: 5000}
		})[0].Policer
	}
	p.watch([]diagnose.Finding{{Cause: diagnose.QdiscDrop, Device: "pod", Drops: &diagnose.Drops{Reason: "QDISC_DROP"}}}, now)
	if rate() != 0 || asked != 0 {
		t.Error("it was read for nothing")
	}
	p.watch([]diagnose.Finding{{Cause: diagnose.PolicyDrop, Device: "pod", Drops: &diagnose.Drops{Reason: "TC_INGRESS"}}}, now)
	if rate() != 5000 || asked != 1 {
		t.Errorf("%d devices were asked", asked)
	}
	if now = now.Add(2 * policedFor); rate() != 0 || asked != 1 {
		t.Error("it is still read")
	}
}
