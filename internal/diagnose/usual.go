package diagnose

import (
	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// Usual is what a queue may do on a healthy and busy node.
type Usual struct {
	Delay  float64 `json:"p50_seconds"` // up to which nothing is said
	Loss   float64 `json:"loss_ratio"`  // likewise
	Reason string  `json:"reason"`
}

// UsualOf is what the queue of the devices with that label may do; false where there is no queue.
func UsualOf(devices []netdev.Device, label string) (Usual, bool) {
	queues := labelled(devices, label)
	if len(queues) == 0 {
		return Usual{}, false
	}
	e := expect(queues, nil)
	return Usual{Delay: e.delayWarning, Loss: e.lossWarning, Reason: e.reason}, true
}

// DefaultQdisc is the kind of root qdisc that a device has unless someone sets another one; "" where that depends on
// hardware and sysctl.
func DefaultQdisc(d *netdev.Device) string { return defaultOf(d) }

// Believed is what is held in a queue as far as its backlog bears it out; passed is how many packets came out in the
// window. What is held elsewhere is believed.
func Believed(h aggregate.Held, devices []netdev.Device, passed uint64) aggregate.Held {
	q := queue{
		devices: labelled(devices, h.Device), passed: passed,
		held: uint64(h.Packets), heldAges: h.Ages, oldest: h.Oldest,
	}
	if len(q.devices) == 0 {
		return h
	}
	q.believe()
	h.Packets, h.Ages, h.Oldest = float64(q.held), q.heldAges, q.oldest
	return h
}
