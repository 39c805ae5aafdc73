package agent

import (
	"maps"
	"net/netip"
	"testing"

	"tracer/internal/aggregate"
)

func TestPodsBehind(t *testing.T) {
	t.Parallel()
	limited, other := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.244.1.3")
	known := names{limited: {Pod: "web-0", Workload: "web", Bandwidth: 10_000_000}, other: {Pod: "api-0", Workload: "api"}}
	stray := netip.MustParseAddr("192.0.2.1")
	got := podsBehind(map[netip.Addr]int{limited: 7, other: 8, stray: 9}, known, 0)
	if want := map[int]aggregate.Identity{7: known[limited], 8: known[other]}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
