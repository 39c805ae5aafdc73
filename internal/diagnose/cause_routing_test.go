package diagnose

import (
	"net/netip"
	"slices"
	"testing"

	"tracer/internal/record"
)

// TestLookups is surer of a missing route where the routing table says so too.
func TestLookups(t *testing.T) {
	t.Parallel()
	e := load(t, "testdata/no-route-blackhole.json").snapshots()
	alone := e.diagnose().Findings[0]
	e.to.Lookups = []record.RouteLookup{{Destination: netip.MustParseAddr("10.2.0.7"), Result: "blackhole", Location: "ip_error"}}
	both := e.diagnose().Findings[0]
	if both.Confidence <= alone.Confidence || !slices.Contains(both.Evidence, "the routing table says of 10.2.0.7: blackhole") {
		t.Errorf("confidence %v with a look-up, %v without: %q", both.Confidence, alone.Confidence, both.Evidence)
	}
}

// TestSharedFunction takes of what a function freed without a reason no more than a counter of the kernel explains.
func TestSharedFunction(t *testing.T) {
	t.Parallel()
	for rise, want := range map[uint64]uint64{150: 150, 140: 150, 20: 20} {
		e := load(t, "testdata/rp-filter-510.json").snapshots()
		e.to.Stats.Protocols["TcpExtIPReversePathFilter"] = rise
		found := e.diagnose().Findings
		i := slices.IndexFunc(found, func(f Finding) bool { return f.Cause == RPFilter })
		if i < 0 || found[i].Drops.Packets != want || (len(found) > 1) != (want < 150) {
			t.Errorf("the counter rose by %d: %+v", rise, found)
		}
	}
}
