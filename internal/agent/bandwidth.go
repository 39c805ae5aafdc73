package agent

import (
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// limited are the devices with what the annotations of the pods behind them let these receive.
func (a *Agent) limited(devices []netdev.Device) []netdev.Device {
	bandwidth := a.waiting.bandwidths(a.options.Namer)
	if len(bandwidth) == 0 {
		return devices
	}
	devices = slices.Clone(devices) // a state is nobody's to change
	for i := range devices {
		devices[i].Bandwidth = bandwidth[devices[i].Index]
	}
	return devices
}

// bandwidths are those of pods of this node that have a limit, by their device, as far as packets have shown it.
func (w *waiting) bandwidths(names aggregate.Namer) map[int]uint64 {
	found := map[int]uint64{}
	now := Monotonic()
	for address, ifindex := range w.localPods() { // which all have a name
		if id := names.Lookup(address, now); id.Bandwidth > 0 {
			found[ifindex] = id.Bandwidth
		}
	}
	return found
}
