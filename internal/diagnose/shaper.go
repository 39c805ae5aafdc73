package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/netdev"
)

// shaperUse is what passed a device's shaper in the window.
type shaperUse struct {
	rate, limit uint64 // bits a second: what passed, and what may
	overlimits  uint64 // how often a packet had to wait for its time
	drops       uint64
}

// shaperUse is what passed a device's shaper; false without one, or where its counters are not known at both ends of the window.
func (w *window) shaperUse(d *netdev.Device) (shaperUse, bool) {
	i := slices.IndexFunc(w.from.Devices, func(b netdev.Device) bool { return b.Index == d.Index })
	if i < 0 {
		return shaperUse{}, false
	}
	return w.shaperUseBetween(&w.from.Devices[i].Root, &d.Root)
}

// podShaperUse is likewise of a shaper on a pod's own end of a device.
func (w *window) podShaperUse(d *netdev.Device) (shaperUse, bool) {
	i := slices.IndexFunc(w.from.Devices, func(b netdev.Device) bool { return b.Index == d.Index && b.PodEnd != nil })
	if i < 0 || d.PodEnd.Unread != "" || w.from.Devices[i].PodEnd.Unread != "" {
		return shaperUse{}, false
	}
	return w.shaperUseBetween(&w.from.Devices[i].PodEnd.Root, &d.PodEnd.Root)
}

func (w *window) shaperUseBetween(before, after *netdev.Qdisc) (shaperUse, bool) {
	now, ok := after.Shaper()
	then, had := before.Shaper()
	switch {
	case !ok || !had || has(*after, "netem"): // whose rate is another fault
		return shaperUse{}, false
	case !before.Is(*after) || then.Handle != now.Handle || now.Bytes < then.Bytes:
		return shaperUse{}, false // another qdisc: it counts from zero
	}
	overlimits, drops := func(q netdev.Qdisc) uint64 { return q.Overlimits }, func(q netdev.Qdisc) uint64 { return q.Drops }
	rise := func(counter func(netdev.Qdisc) uint64) uint64 {
		return after.Total(counter) - min(after.Total(counter), before.Total(counter))
	}
	return shaperUse{
		rate: uint64(float64(now.Bytes-then.Bytes) * 8 / w.seconds()), limit: now.RateBits, overlimits: rise(overlimits), drops: rise(drops),
	}, true
}

// String is the use against the limit.
func (u shaperUse) String() string {
	return fmt.Sprintf("%s of its %s (%s) passed in the window, %s, %s",
		bitRate(u.rate), bitRate(u.limit), percent(u.share()), plural(u.overlimits, "overlimit"), plural(u.drops, "drop"))
}

// share is what part of the limit is used.
func (u shaperUse) share() float64 { return float64(u.rate) / float64(u.limit) }

// isFull tells of a shaper that holds packets back since its rate is used up.
func (u shaperUse) isFull() bool { return u.share() >= fullShare && u.overlimits >= minSamples }
