package overview

import (
	"cmp"
	"slices"
	"strings"

	"tracer/internal/netdev"
)

// Limit is how many bits a second may pass somewhere, and how many do.
type Limit struct {
	What           string  `json:"what"` // "tbf 1:", "class 10:10", "bandwidth annotation", or "the link", by the way on which more passes
	LimitBits      float64 `json:"limit_bits_per_second"`
	Bits           float64 `json:"bits_per_second"`
	Share          float64 `json:"share"` // used of it; above 1 in a burst
	OverlimitsRate float64 `json:"overlimits_per_second"`
	DropsRate      float64 `json:"drops_per_second"`
}

// limits are a device's, the one used most first: those of the qdiscs and classes that have a rate, the pod's by its annotation,
// and the link's speed.
func (b *builder) limits(d, before *netdev.Device) []Limit {
	found := []Limit{}
	add := func(l Limit) {
		l.Share = l.Bits / l.LimitBits
		found = append(found, l)
	}
	rate := func(now, then uint64) float64 { return float64(now-min(now, then)) / b.seconds }
	var walk func(now, then *netdev.Qdisc)
	walk = func(now, then *netdev.Qdisc) {
		if limit := max(now.RateBits, now.CeilBits); limit > 0 && (!now.Class || now.Bytes > 0) {
			what := now.Kind
			if now.Class {
				what = "class"
			}
			add(Limit{
				What: strings.TrimSpace(what + " " + now.Handle), LimitBits: float64(limit), Bits: 8 * rate(now.Bytes, then.Bytes),
				OverlimitsRate: rate(now.Overlimits, then.Overlimits), DropsRate: rate(now.Drops, then.Drops),
			})
		}
		for i := range now.Children {
			child, old := &now.Children[i], &now.Children[i] // a new one has no rate yet
			if at := slices.IndexFunc(then.Children, func(q netdev.Qdisc) bool {
				return q.Handle == child.Handle && q.Kind == child.Kind && q.Class == child.Class
			}); at >= 0 {
				old = &then.Children[at]
			}
			walk(child, old)
		}
	}
	then := &d.Root
	if before.Root.Is(d.Root) {
		then = &before.Root
	}
	walk(&d.Root, then)
	if d.Bandwidth > 0 {
		add(Limit{What: "bandwidth annotation", LimitBits: float64(d.Bandwidth), Bits: 8 * rate(d.Traffic.TxBytes, before.Traffic.TxBytes)})
	}
	if speed := b.LinkSpeeds[d.Index]; speed > 0 {
		add(Limit{What: "the link", LimitBits: speed, Bits: 8 * max(
			rate(d.Traffic.TxBytes, before.Traffic.TxBytes), rate(d.Traffic.RxBytes, before.Traffic.RxBytes))})
	}
	slices.SortStableFunc(found, func(x, y Limit) int { return cmp.Compare(y.Share, x.Share) })
	return found
}
