package diagnose

import (
	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// Threshold is what a queue may do on a healthy and busy node.
type Threshold struct {
	WarnDelay float64 `json:"p50_seconds"` // up to which nothing is said
	WarnLoss  float64 `json:"loss_ratio"`  // likewise
	Reason    string  `json:"reason"`
}

// ThresholdOf is what the queue of the devices with that label may do; false where there is no queue.
func ThresholdOf(devices []netdev.Device, label string) (Threshold, bool) {
	queues := labelled(devices, label)
	if len(queues) == 0 {
		return Threshold{}, false
	}
	e := expect(queues, nil)
	return Threshold{WarnDelay: e.delayWarning, WarnLoss: e.lossWarning, Reason: e.reason}, true
}

// DefaultQdisc is the kind of root qdisc that a device has unless someone sets another one; "" where that depends on
// hardware and sysctl.
func DefaultQdisc(d *netdev.Device) string { return defaultOf(d) }

// ClampToBacklog is what is held in a queue as far as its backlog bears it out; passed is how many packets came out in the
// window. What is held elsewhere is believed.
func ClampToBacklog(h aggregate.InFlight, devices []netdev.Device, passed uint64) aggregate.InFlight {
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
