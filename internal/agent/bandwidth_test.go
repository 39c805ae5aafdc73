package agent

import (
	"maps"
	"net/netip"
	"testing"

	"tracer/internal/aggregate"
)

func TestBandwidths(t *testing.T) {
	t.Parallel()
	limited, other := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.244.1.3")
	known := names{limited: aggregate.Identity{Pod: "web", Bandwidth: 10_000_000}, other: aggregate.Identity{Pod: "api"}}
	if got := bandwidths(map[netip.Addr]int{limited: 7, other: 8}, known, 0); !maps.Equal(got, map[int]uint64{7: 10_000_000}) {
		t.Errorf("%v", got)
	}
}
