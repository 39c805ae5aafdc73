package overview

import (
	"cmp"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// Drops are how many packets were lost, and the most frequent reason.
type Drops struct {
	Packets   uint64  `json:"packets"` // sk_buffs
	PerSecond float64 `json:"per_second"`
	Reason    string  `json:"reason,omitempty"`
}

// drops adds up losses.
func (b *builder) drops(drops []aggregate.DropCount) (sum Drops) {
	by := map[string]uint64{}
	for _, d := range drops {
		if d.Loss {
			sum.Packets += d.Packets
			by[d.Reason] += d.Packets
		}
	}
	for reason, n := range by {
		if n > by[sum.Reason] || n == by[sum.Reason] && reason < sum.Reason {
			sum.Reason = reason
		}
	}
	sum.PerSecond = float64(sum.Packets) / b.seconds
	return sum
}

// Drop is where and why packets were dropped.
type Drop struct {
	Place
	Direction journey.Direction `json:"direction"`
	Reason    string            `json:"reason"`
	Location  string            `json:"location"`
	Packets   uint64            `json:"packets"`
	PerSecond float64           `json:"per_second"`
}

// dropsOf lists losses, the most frequent first.
func (b *builder) dropsOf(drops []aggregate.DropCount) []Drop {
	out := []Drop{}
	for _, d := range drops {
		if d.Loss {
			out = append(out, Drop{
				Place: Place{d.Stage, d.Device}, Direction: d.Direction, Reason: d.Reason, Location: d.Location,
				Packets: d.Packets, PerSecond: float64(d.Packets) / b.seconds,
			})
		}
	}
	slices.SortStableFunc(out, func(x, y Drop) int { return cmp.Compare(y.Packets, x.Packets) })
	return out
}
