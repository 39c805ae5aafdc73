package agent

import (
	"net/netip"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/loader"
	"tracer/internal/netdev"
)

// withPods are the devices with the workloads of the pods behind them, and the bandwidth that these pods' annotations limit them to.
func (a *Agent) withPods(devices []netdev.Device) []netdev.Device {
	pods := podsBehind(a.lateNames.PodDevices(), a.options.Namer, loader.Monotonic())
	if len(pods) == 0 {
		return devices
	}
	devices = slices.Clone(devices) // a state is nobody's to change
	for i := range devices {
		d := &devices[i]
		if id, ok := pods[d.Index]; ok && d.Role == netdev.RolePod {
			d.Workload, d.Bandwidth, d.EgressBandwidth = id.Namespace+"/"+id.Workload, id.Bandwidth, id.EgressBandwidth
		}
		// What several pods send through one ifb is limited for all of them together, which no annotation asks for.
		if d.Role == netdev.RoleIFB && len(d.RedirectedFrom) == 1 {
			if id, ok := pods[d.RedirectedFrom[0]]; ok {
				d.Workload, d.Bandwidth = id.Namespace+"/"+id.Workload, id.EgressBandwidth
			}
		}
	}
	return devices
}

// podsBehind are the pods that are behind devices, by the devices' index.
func podsBehind(devices map[netip.Addr]int, names aggregate.Namer, now time.Duration) map[int]aggregate.Identity {
	found := map[int]aggregate.Identity{}
	for address, ifindex := range devices {
		// A pod's second address may have come without a name as yet.
		if id := names.Lookup(address, now); id.Pod != "" && id.Workload != "" {
			found[ifindex] = id
		}
	}
	return found
}
