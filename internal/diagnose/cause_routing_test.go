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
	e.to.Lookups = []record.RouteLookup{{Destination: netip.MustParseAddr("10.2.0.7"), Result: "blackhole"}}
	both := e.diagnose().Findings[0]
	if both.Confidence <= alone.Confidence || !slices.Contains(both.Evidence, "the routing table says of 10.2.0.7: blackhole") {
		t.Errorf("confidence %v with a look-up, %v without: %q", both.Confidence, alone.Confidence, both.Evidence)
	}
}
