package agent

import (
	"net/netip"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/loader"
	"tracer/internal/netdev"
)

// withBandwidths are the devices with the bandwidth that annotations limit the pods behind them to.
func (a *Agent) withBandwidths(devices []netdev.Device) []netdev.Device {
	bandwidth := bandwidths(a.lateNames.LocalPods(), a.options.Namer, loader.Monotonic())
	if len(bandwidth) == 0 {
		return devices
	}
	devices = slices.Clone(devices) // a state is nobody's to change
	for i := range devices {
		devices[i].Bandwidth = bandwidth[devices[i].Index]
	}
	return devices
}

// bandwidths are those of pods that have a limit, by the index of their device. The pods' devices are given by address.
func bandwidths(pods map[netip.Addr]int, names aggregate.Namer, now time.Duration) map[int]uint64 {
	found := map[int]uint64{}
	for address, ifindex := range pods {
		if id := names.Lookup(address, now); id.Bandwidth > 0 {
			found[ifindex] = id.Bandwidth
		}
	}
	return found
}
