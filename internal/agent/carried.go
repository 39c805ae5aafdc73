package agent

import (
	"maps"
	"sync"

	"tracer/internal/netdev"
)

// carriedLeast is how many packets a device must have sent while we looked to be in use: one that is up sends a few by
// itself.
const carriedLeast = 20

// carriers are the devices that have carried packets since tracing began.
type carriers struct {
	mu    sync.Mutex
	first map[int]uint64 // by index, packets sent when first seen
	names map[string]bool
}

// see takes the devices' counters as read now, and returns the names of those in use so far.
func (c *carriers) see(devices []netdev.Device) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		c.first, c.names = make(map[int]uint64), make(map[string]bool)
	}
	there := make(map[int]bool, len(devices))
	for i := range devices {
		d := &devices[i]
		if d.Role == netdev.RolePod {
			continue
		}
		there[d.Index] = true
		first, known := c.first[d.Index]
		if !known || d.Traffic.TxPackets < first {
			first = d.Traffic.TxPackets
			c.first[d.Index] = first
		}
		if d.Traffic.TxPackets-first >= carriedLeast {
			c.names[d.Name] = true
		}
	}
	maps.DeleteFunc(c.first, func(index int, _ uint64) bool { return !there[index] })
	return maps.Clone(c.names)
}
