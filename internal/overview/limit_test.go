package overview

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// TestLimits compares what passes with what may: by qdiscs, by classes that are used, by the pod's annotation, and by the link.
func TestLimits(t *testing.T) {
	t.Parallel()
	device := func(bytes, overlimits uint64) netdev.Device {
		return netdev.Device{
			Index: 3, Name: "cali1", Role: netdev.RolePod, Up: true, Bandwidth: 1e6, Traffic: netdev.Traffic{TxBytes: bytes},
			Root: netdev.Qdisc{Kind: "htb", Handle: "1:", Bytes: bytes, Children: []netdev.Qdisc{
				{Kind: "htb", Class: true, Handle: "1:1", RateBits: 1e6, CeilBits: 2e6, Bytes: bytes, Overlimits: overlimits},
				{Kind: "htb", Class: true, Handle: "1:2", RateBits: 5e6},
				{Kind: "tbf", Handle: "2:", RateBits: 4e5, Bytes: bytes / 2},
			}},
		}
	}
	of := func(before netdev.Device) (out []string) {
		o := Build(Input{
			Window: &aggregate.Snapshot{Window: 10 * time.Second}, Devices: []netdev.Device{device(2_000_000, 50)}, Before: []netdev.Device{before},
			LinkSpeeds: map[int]float64{3: 8e6, 4: 1e6},
		}, query(t, ByDevice, "", ""))
		for _, l := range o.Devices[0].Limits {
			out = append(out, fmt.Sprintf("%s %.0f of %.0f %.2f %.0f", l.What, l.Bits, l.LimitBits, l.Share, l.OverlimitsRate))
		}
		return out
	}
	want := []string{"tbf 2: 400000 of 400000 1.00 0", "bandwidth annotation 800000 of 1000000 0.80 0", "class 1:1 800000 of 2000000 0.40 3", "the link 800000 of 8000000 0.10 0"}
	if got := of(device(1_000_000, 20)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	// Of a qdisc that was not there before nothing is known yet.
	other := device(1_000_000, 20)
	other.Root = netdev.Qdisc{Kind: "noqueue"}
	want = []string{"bandwidth annotation 800000 of 1000000 0.80 0", "the link 800000 of 8000000 0.10 0", "class 1:1 0 of 2000000 0.00 0", "tbf 2: 0 of 400000 0.00 0"}
	if got := of(other); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
