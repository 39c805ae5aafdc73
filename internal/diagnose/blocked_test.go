package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// TestBlockedPort tells of a port that a rule closes between two workloads that exchange much by another, and not of strays.
func TestBlockedPort(t *testing.T) {
	t.Parallel()
	web := key("default/web", "default/api", journey.Out)
	for _, test := range []struct {
		about  string
		change func(*aggregate.Blocked)
		want   bool
	}{
		{"a port", func(*aggregate.Blocked) {}, true},
		{"strays", func(b *aggregate.Blocked) { b.Packets = maxStrays }, false},
		{"a burst", func(b *aggregate.Blocked) { b.First = b.Last + 1 }, false},
		{"long ago", func(b *aggregate.Blocked) { b.First, b.Last = 100, 60 }, false},
		{"others", func(b *aggregate.Blocked) { b.DstWorkload = "shop" }, false},
	} {
		b := aggregate.Blocked{PairKey: web, Destination: netip.MustParseAddrPort("10.2.0.1:9001"), Protocol: record.ProtocolTCP, Packets: 15, First: 14, Last: 0.5}
		test.change(&b)
		p := aggregate.Pair{PairKey: web, Packets: 20000, Untimed: 20000}
		d := aggregate.DropCount{
			DropKey: aggregate.DropKey{StageKey: aggregate.StageKey{Stage: journey.Forward, Device: "pod", Direction: journey.Out}, Reason: "NETFILTER_DROP", Loss: true},
			Packets: 15, Segments: 15, SYNs: 15,
		}
		p.Drops = []aggregate.DropCount{d}
		taken := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		r := Diagnose("node-1", Snapshot{Taken: taken.Add(-15 * time.Second)}, Snapshot{
			Taken: taken, Counts: &aggregate.Snapshot{Pairs: []aggregate.Pair{p}, Drops: []aggregate.DropCount{d}, Blocked: []aggregate.Blocked{b}, Records: 20000},
		})
		told := len(r.Findings) > 0 && r.Findings[0].Severity == Critical && strings.Contains(r.Findings[0].predicate, "all of default/web → default/api at 10.2.0.1:9001")
		if told != test.want {
			t.Errorf("%s: %+v", test.about, r.Findings)
		}
	}
}
