package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestSilentPod tells of a pod that answers nothing to clients elsewhere, and not of what asks for no answer or gets one.
func TestSilentPod(t *testing.T) {
	t.Parallel()
	in := key("default/web", "default/api", journey.In)
	for _, test := range []struct {
		about  string
		change func(*aggregate.Pair, *aggregate.Snapshot)
		want   bool
	}{
		{"SYNs", func(*aggregate.Pair, *aggregate.Snapshot) {}, true},
		{"resets", func(p *aggregate.Pair, _ *aggregate.Snapshot) { p.Bytes = 52 * p.Packets }, false},
		{"datagrams", func(p *aggregate.Pair, _ *aggregate.Snapshot) { p.Ends.Protocol = record.ProtocolUDP }, false},
		{"answers to a pod's own", func(p *aggregate.Pair, _ *aggregate.Snapshot) { p.Ends.Source = netip.MustParseAddrPort("10.1.0.1:80") }, false},
		{"from the world", func(p *aggregate.Pair, _ *aggregate.Snapshot) {
			p.PairKey = key("", "_external", journey.In)
			p.SrcNamespace = ""
		}, false},
		{"lost here", func(p *aggregate.Pair, _ *aggregate.Snapshot) { p.Drops = []aggregate.DropCount{{Packets: 40}} }, false},
		{"TCP gets them", func(p *aggregate.Pair, _ *aggregate.Snapshot) { p.TCP = &aggregate.TCP{} }, false},
		{"answered", func(_ *aggregate.Pair, s *aggregate.Snapshot) {
			s.Pairs = append(s.Pairs, aggregate.Pair{PairKey: in.Reverse(), Packets: 1})
		}, false},
		{"answered, by its device", func(p *aggregate.Pair, _ *aggregate.Snapshot) {
			p.Requests = &aggregate.Requests{}
			p.Requests.Server.Connects.ObserveDuration(time.Microsecond, 1)
		}, false},
		{"records missed", func(_ *aggregate.Pair, s *aggregate.Snapshot) { s.MissedRecords = 1 }, false},
		{"TCP is not seen", func(_ *aggregate.Pair, s *aggregate.Snapshot) { s.Pairs = nil }, false},
	} {
		p := aggregate.Pair{PairKey: in, Packets: 40, Bytes: 40 * 60, Ends: &aggregate.Ends{
			Source: netip.MustParseAddrPort("10.1.0.1:40000"), Destination: netip.MustParseAddrPort("10.2.0.1:9000"), Protocol: record.ProtocolTCP, To: 4,
		}}
		counts := aggregate.Snapshot{Pairs: []aggregate.Pair{{PairKey: key("default/a", "default/b", journey.Out), TCP: &aggregate.TCP{}}}}
		test.change(&p, &counts)
		counts.Pairs = append(counts.Pairs, p)
		taken := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		w := &window{
			from: Snapshot{Taken: taken.Add(-15 * time.Second)}, counts: &counts,
			to: Snapshot{Taken: taken, Devices: []netdev.Device{{Index: 4, Name: "cali1", Role: netdev.RolePod}}},
		}
		w.counts, w.requests = requestsOf(&counts)
		f := w.silentPods()
		if (f != nil) != test.want {
			t.Errorf("%s: %+v", test.about, f)
		}
		if f != nil && (f.Cause != NoAnswer || f.Severity != Critical || f.Stage != journey.Deliver || !strings.Contains(f.Next[0], "ip route get 10.1.0.1")) {
			t.Errorf("%s: %+v", test.about, f)
		}
	}
}
