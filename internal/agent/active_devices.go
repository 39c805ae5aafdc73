package agent

import (
	"maps"
	"sync"

	"tracer/internal/netdev"
)

// minActivePackets is how many packets a device must have sent since it was seen first to be active: one that is up sends
// a few by itself.
const minActivePackets = 20

// activeDevices are the devices that have sent packets since tracing began, but for those of pods.
type activeDevices struct {
	mu    sync.Mutex
	first map[int]uint64 // by index, packets sent when first seen
	named map[int]string // by index, as of the last time
	names map[string]bool
}

// update takes the devices' counters as read now, and returns the names of those active so far: of a device that
// was renamed, the new one.
func (a *activeDevices) update(devices []netdev.Device) map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first == nil {
		a.first, a.named, a.names = make(map[int]uint64), make(map[int]string), make(map[string]bool)
	}
	there := make(map[int]bool, len(devices))
	for i := range devices {
		d := &devices[i]
		if d.Role == netdev.RolePod {
			continue
		}
		there[d.Index] = true
		if old := a.named[d.Index]; old != d.Name && a.names[old] {
			delete(a.names, old)
			a.names[d.Name] = true
		}
		a.named[d.Index] = d.Name
		first, known := a.first[d.Index]
		if !known || d.Traffic.TxPackets < first {
			first = d.Traffic.TxPackets
			a.first[d.Index] = first
		}
		if d.Traffic.TxPackets-first >= minActivePackets {
			a.names[d.Name] = true
		}
	}
	maps.DeleteFunc(a.first, func(index int, _ uint64) bool { return !there[index] })
	maps.DeleteFunc(a.named, func(index int, _ string) bool { return !there[index] })
	return maps.Clone(a.names)
}
