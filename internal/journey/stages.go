package journey

import (
	"errors"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Why a record makes no path. They are counted, never guessed around.
var (
	ErrNoHops = errors.New("record has no hooks")
	ErrDevice = errors.New("record names a device that is not there (any more)")
	ErrOrder  = errors.New("record's hooks are out of order")
)

// hopsFirst is how many hops a record holds before it skips some.
const hopsFirst = record.MaxHops - 2

// Stages turns a record into the path of its packet. It does not allocate.
func Stages(rec *record.Record, devices *Devices) (p Path, err error) {
	hops := rec.Path()
	if rec.Kind == record.Dropped {
		if !rec.Attributed {
			return unplaced(rec, devices), nil
		}
		p.Class = Classify(rec.Reason, rec.Location)
	}
	end := rec.Time
	if n := len(hops); n > 0 && hops[n-1].Hook == record.Free {
		end, hops = hops[n-1].Time, hops[:n-1]
	}
	if len(hops) == 0 {
		return Path{}, ErrNoHops
	}

	from := &hops[0]
	a := devices.Find(from.Ifindex)
	if a == nil {
		return Path{}, ErrDevice
	}
	first := a
	splitAt := splitHop(rec)
	for i := range hops[1:] {
		to, b := &hops[i+1], a
		if to.Ifindex != from.Ifindex {
			if b = devices.Find(to.Ifindex); b == nil {
				return Path{}, ErrDevice
			}
		}
		if to.Time < from.Time {
			return Path{}, ErrOrder
		}
		stage, at := Unknown, (*Device)(nil) // what lies in between was not kept
		if rec.Skipped == 0 || i+1 != hopsFirst {
			if stage, at = between(from.Hook, a, to.Hook, b); stage == "" {
				return Path{}, ErrOrder
			}
		}
		// Written in its place: to copy steps would take as long as all the rest.
		step := p.next()
		step.Stage, step.Device, step.Delay, step.Untimed = stage, at, to.Time-from.Time, stage == Unknown
		// A dequeue proves that there is (or was) a queue, whatever the device has now.
		step.NoQueue = stage == Queue && from.Hook == record.Egress && to.Hook == record.Xmit && !b.Queues
		p.keep()
		from, a = to, b
		if i+1 == splitAt {
			p.Counted = p.n
		}
	}

	p.Direction = direction(rec.Kind, first, hops[0].Hook, a, from.Hook)
	switch rec.Kind {
	case record.Finished:
		end = from.Time
	case record.InFlight:
		end = max(end, from.Time) // a hook may run while the table is read
		s := standing(from.Hook, a)
		s.Delay = end - from.Time
		p.stay(s)
	default:
		if end < from.Time {
			return Path{}, ErrOrder
		}
		if rec.Kind == record.Split {
			step := p.next()
			*step = splitting(rec, from.Hook, a)
			step.Delay = end - from.Time
			p.keep()
			break
		}
		s := lost(p.Class, from.Hook, a)
		s.Delay = end - from.Time
		p.stay(s)
		if quiet(rec, p.At.Stage) {
			p.Class = Noise
		}
	}
	p.Total = end - hops[0].Time
	return p, nil
}

// unplaced is the path of a dropped packet that was at no hook before: the device that the kernel named, if any,
// and nothing else. But what a qdisc says that it dropped was in that device's queue, with or without a hook: so end
// the segments that tbf makes of a packet when it takes it in.
func unplaced(rec *record.Record, devices *Devices) Path {
	p := Path{At: Step{Stage: Unknown}, Class: Classify(rec.Reason, rec.Location)}
	if rec.Len > 0 {
		p.At.Device = devices.Find(rec.Hops[0].Ifindex)
	}
	if d := p.At.Device; p.Class == QueueLoss && d != nil && d.Queues {
		p.At.Stage, p.Direction = Queue, Out
		if d.Role == netdev.RolePod {
			p.Direction = In
		}
		return p
	}
	if quiet(rec, Unknown) {
		p.Class = Noise
	}
	return p
}

// between is the stage from a hook at device a to the next one at device b, and where; Unknown if its delay belongs to
// none alone, "" if no packet can pass them in this order.
func between(from record.Hook, a *Device, to record.Hook, b *Device) (Stage, *Device) {
	switch to {
	case record.Ingress:
		if from != record.Ingress {
			return Unknown, b // sent back up by a redirect, ifb or a pair of veths: no stage of ours
		}
		if b.Role == netdev.RoleOverlay && a != b {
			return Decap, b
		}
		return Forward, b

	case record.Egress:
		switch from {
		case record.Ingress:
			return Forward, b
		case record.Xmit:
			if a == b {
				return "", nil
			}
			if a.Role.Forwards() {
				return Forward, b
			}
			return Encap, a
		case record.Egress, record.Dequeue:
			return Unknown, b // a's xmit was not seen: its queue and encap cannot be told apart
		}

	case record.Dequeue, record.Xmit:
		switch from {
		case record.Egress, record.Dequeue:
			if a != b {
				return "", nil
			}
			return Queue, b
		case record.Xmit:
			if a == b {
				return Queue, b // the driver was busy: requeued
			}
			return Unknown, b
		case record.Ingress:
			return Unknown, b
		}
	}
	return "", nil
}

// splitHop is the index of the hop after which a segment's packet was split; -1 in records of whole packets.
func splitHop(rec *record.Record) int {
	hop := rec.SplitAt - 1
	if rec.Kind == record.Split {
		return -1
	}
	if rec.Skipped > 0 && hop >= hopsFirst {
		return max(hopsFirst-1, hop-rec.Skipped)
	}
	return hop
}

// splitting is the stage that ends with the free of a software GSO split's original.
func splitting(rec *record.Record, last record.Hook, at *Device) Step {
	if last != record.Egress || rec.SplitAt > 0 {
		// After a dequeue the queue has been timed, and when a packet was split before it, its segments time it:
		// this is the splitting itself.
		return Step{Stage: Unknown, Device: at, Untimed: true}
	}
	// Without a dequeue the packet bypassed an empty qdisc (sch_direct_xmit splits it then). Or a qdisc split it
	// that the programs did not know of yet: then only its segments waited.
	return Step{Stage: Queue, Device: at, NoQueue: !at.Queues, Untimed: at.Splits}
}

// standing is the stage that a packet is in after its last hook.
func standing(last record.Hook, at *Device) Step {
	switch last {
	case record.Ingress:
		return Step{Stage: Forward, Device: at}
	case record.Egress:
		if at.Queues {
			return Step{Stage: Queue, Device: at}
		}
	case record.Dequeue:
		return Step{Stage: Queue, Device: at}
	case record.Xmit:
		return transmitting(at)
	}
	return Step{Stage: Unknown, Device: at}
}

// transmitting is the stage after a device's xmit.
func transmitting(at *Device) Step {
	switch {
	case at.Role == netdev.RolePod:
		return Step{Stage: Deliver, Device: at}
	case at.Role == netdev.RoleOverlay, at.Role == netdev.RoleUplink && !at.Lowest:
		return Step{Stage: Encap, Device: at}
	case at.Role.Forwards():
		return Step{Stage: Forward, Device: at}
	}
	return Step{Stage: Unknown, Device: at}
}

// lost is the stage in which a packet was dropped after its last hook.
func lost(class Class, last record.Hook, at *Device) Step {
	switch last {
	case record.Ingress:
		return Step{Stage: Forward, Device: at}
	case record.Egress, record.Dequeue:
		switch class {
		case QueueLoss:
			return Step{Stage: Queue, Device: at}
		case QueueLocation:
			// The caller alone says less than a reason: the same functions free what is sent to a device
			// that is down.
			if at.Queues && at.Up {
				return Step{Stage: Queue, Device: at}
			}
		case PolicyLoss:
			return Step{Stage: Forward, Device: at} // a tc program behind ours, in front of the qdisc
		}
	case record.Xmit:
		if class != QueueLoss { // that of a device below, whose egress we did not see
			return transmitting(at)
		}
	}
	return Step{Stage: Unknown, Device: at}
}

// direction tells which way a journey goes that began at first and was last seen at last.
func direction(kind record.Kind, first *Device, firstHook record.Hook, last *Device, lastHook record.Hook) Direction {
	fromPod := first.Role == netdev.RolePod && firstHook == record.Ingress
	if lastHook == record.Ingress {
		if kind == record.Finished || !fromPod {
			return In // ended in the node itself, or came from outside
		}
		return Out // left a pod; where to was not decided yet
	}
	switch {
	case last.Role.LeadsOut():
		return Out
	case fromPod:
		return Local
	}
	return In
}
