package diagnose

import (
	"slices"

	"tracer/internal/netdev"
)

// byPresentNames are a snapshot's devices and network cards by the names that they have now: one that was renamed is compared with itself.
func byPresentNames(from Snapshot, now []netdev.Device) ([]netdev.Device, []netdev.NIC) {
	devices, nics := slices.Clone(from.Devices), slices.Clone(from.NICs)
	for i := range devices {
		at := slices.IndexFunc(now, func(d netdev.Device) bool { return d.Index == devices[i].Index })
		if at < 0 || now[at].Name == devices[i].Name {
			continue
		}
		for j := range nics {
			if from.NICs[j].Device == devices[i].Name {
				nics[j].Device = now[at].Name
			}
		}
		devices[i].Name = now[at].Name
	}
	return devices, nics
}
