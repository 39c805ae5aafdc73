// Package journey turns the record of one packet into its path through this node: the stages between the hooks that it
// passed, each with its device and delay, its direction, and for a dropped packet whether that was a loss. The
// aggregator, the trace and the diagnosis all read records this way.
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

// Step is one stage of one packet.
type Step struct {
	Stage  Stage
	Device *Device // where; nil if the stage is Unknown and no device can be named
	Delay  time.Duration
	// NoQueue marks the Queue stage of a device that has no queue: the delay is the transmit path's own.
	NoQueue bool
	// Untimed marks a delay that is not the stage's own, or only in part: it counts in the total, but not as a
	// measurement of the stage.
	Untimed bool
}

// Path is one packet's way through this node: the stages that it passed and, unless its journey finished, the one where it
// is or was dropped. The delays of all steps and of Where add up to Total.
type Path struct {
	Direction Direction
	// Total is the time from the first hook to the last; for a packet in flight up to the scan of the table, for a
	// dropped one up to the drop.
	Total time.Duration
	// Where is the stage that a packet in flight is in, or in which a dropped one was, and how long it has been there
	// since its last hook. It is the zero Step in a finished journey.
	Where Step
	// StepsBeforeSplit is how many of the steps a segment shares with the packet that a qdisc split into it. That
	// packet's own record has them too; 0 for all other packets.
	StepsBeforeSplit int

	class dropClass
	steps [record.MaxHops]Step
	n     int
}

// Steps are the stages passed, in order.
func (p *Path) Steps() []Step { return p.steps[:p.n] }

// Loss tells of a dropped packet whether it was lost. The kernel also frees by kfree_skb what has served its purpose, as a
// duplicate or a packet for another host.
func (p *Path) Loss() bool { return p.class.loss() }

// nextStep is where the next step is written before it is pushed.
func (p *Path) nextStep() *Step { return &p.steps[p.n] }

// push appends the step at nextStep. Queue steps at one device are one stage: up to the dequeue, and from there to the
// driver.
func (p *Path) push() {
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

// setWhere sets Where. A packet that was dequeued but not sent is still in that device's queue stage and has not passed it.
func (p *Path) setWhere(s Step) {
	if p.n > 0 && s.Stage == Queue {
		if last := &p.steps[p.n-1]; last.Stage == Queue && last.Device == s.Device {
			s.Delay += last.Delay
			p.n--
		}
	}
	p.Where = s
}
