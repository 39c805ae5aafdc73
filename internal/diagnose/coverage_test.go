package diagnose

import (
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestNothingReadYet has packets end of which no record was read: in a window in which it should have been nothing is seen of
// them, in the first moments of an agent the records are on their way.
func TestNothingReadYet(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		window time.Duration
		packets,
		missed uint64
		want Verdict
	}{
		{17 * time.Millisecond, 40, 0, NoTraffic},
		{900 * time.Millisecond, 3000, 0, NoTraffic},
		{17 * time.Millisecond, 40, 1, Blind},
		{time.Second, 40, 0, Blind},
		{15 * time.Second, 40, 0, Blind},
		{15 * time.Second, 20, 0, NoTraffic},
	} {
		counted := record.Coverage{Packets: test.packets, Segments: test.packets, Begun: test.packets, Ended: test.packets}
		device := netdev.Device{Index: 2, Name: "eth0", Kind: "veth", Role: netdev.RoleUplink, Up: true, MTU: 1500}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		from := Snapshot{Taken: start, Counts: &aggregate.Snapshot{}, Devices: []netdev.Device{device}}
		to := Snapshot{Taken: start.Add(test.window), Counts: &aggregate.Snapshot{MissedRecords: test.missed}, Devices: []netdev.Device{device}, Coverage: []HookCoverage{{
			Device: "eth0", Role: netdev.RoleUplink, Hook: record.Ingress, Before: counted, After: counted, Packets: test.packets, Bytes: 100 * test.packets,
		}}}
		if r := Diagnose("node", from, to); r.Verdict != test.want {
			t.Errorf("%d packets in %v, %d records missed: %s, want %s: %s", test.packets, test.window, test.missed, r.Verdict, test.want, r.Summary)
		}
	}
}
