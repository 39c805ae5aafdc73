// Package journey turns the hooks that a packet passed into stages: what the kernel did with it in between, where,
// and how long that took.
package journey

import (
	"time"

	"tracer/internal/record"
)

// Direction is which way a packet goes, seen from this node.
type Direction string

// The directions. A drop whose packet was at no hook before has none ("").
const (
	Out   Direction = "out"   // leaves the node
	In    Direction = "in"    // arrives for a pod, or for the node itself
	Local Direction = "local" // pod to pod on this node
)

// Stage is what the kernel does with a packet between two neighbouring hooks.
type Stage string

// The stages.
const (
	Forward  Stage = "forward"   // routing, netfilter, kube-proxy's NAT
	Queue    Stage = "queue"     // the qdisc, its pacing, the TX lock
	Encap    Stage = "encap"     // a tunnel's, bond's or VLAN's transmit function, up to the device under it
	Decap    Stage = "decap"     // from an underlay device up to the tunnel's
	Deliver  Stage = "deliver"   // from the pod's device to its socket
	PodQueue Stage = "pod-queue" // the pod's own device
	Unknown  Stage = "unknown"   // what no pair of hooks tells
)

// Step is one stage of one packet.
type Step struct {
	Stage  Stage
	Device *Device // where; nil if the stage is Unknown and no device can be named
	Delay  time.Duration
	// NoQueue marks the Queue stage of a device without a qdisc: nothing is queued there by construction, and
	// the delay is the transmit path's own.
	NoQueue bool
	// Untimed marks a delay that does not belong to the stage alone, or not wholly: it counts in the total but
	// measures nothing.
	Untimed bool
}

// Path is what a record says: the stages passed and, unless the journey finished, the one it is or was lost in.
// The delays of all steps and of At are together Total.
type Path struct {
	Direction Direction
	// Total is the time from the first hook to the last. For an open journey it is the time up to the scan, for
	// a dropped one up to its loss.
	Total time.Duration
	// At is the stage that the packet of an open journey is in since its last hook, or in which that of a
	// dropped one was lost, and how long it was there. It is the zero Step in a finished journey.
	At Step
	// Counted is how many of the steps the packet had passed before a qdisc split it: they are in that packet's own
	// record, and this is one of its segments'.
	Counted int
	// Class tells of a drop what kind of loss it is, if it is one.
	Class Class

	steps [record.MaxHops]Step
	n     int
}

// Steps are the stages passed, in order.
func (p *Path) Steps() []Step { return p.steps[:p.n] }

// next is where the next step is to be written.
func (p *Path) next() *Step { return &p.steps[p.n] }

// keep appends it. Queue steps at one device are one stage: up to the dequeue and from there to the driver.
func (p *Path) keep() {
	s := &p.steps[p.n]
	if p.n > 0 && s.Stage == Queue {
		if last := &p.steps[p.n-1]; last.Stage == Queue && last.Device == s.Device {
			last.Delay += s.Delay
			last.NoQueue = last.NoQueue && s.NoQueue
			last.Untimed = last.Untimed || s.Untimed
			*s = Step{}
			return
		}
	}
	p.n++
}

// stay sets At. A packet that has been dequeued but not sent is still in that device's queue stage: the stage was
// not passed.
func (p *Path) stay(s Step) {
	if p.n > 0 && s.Stage == Queue {
		if last := &p.steps[p.n-1]; last.Stage == Queue && last.Device == s.Device {
			s.Delay += last.Delay
			p.n--
		}
	}
	p.At = s
}
