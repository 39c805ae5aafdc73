package journey

import (
	"errors"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Stage is what the kernel does with a packet between two neighbouring hooks.
type Stage string

// The stages.
const (
	PodQueue Stage = "pod-queue" // from the pod's socket to its device: the qdisc at the pod's own end
	Forward  Stage = "forward"   // routing, netfilter, kube-proxy's NAT
	Queue    Stage = "queue"     // the qdisc, its pacing, the TX lock
	Encap    Stage = "encap"     // a tunnel's, bond's or VLAN's transmit function, up to the device under it
	Decap    Stage = "decap"     // from an underlay device up to the tunnel's
	Deliver  Stage = "deliver"   // from the pod's device to its socket
	Unknown  Stage = "unknown"   // the hooks do not tell
)

// Queues tells whether packets may rightly wait in the stage for long: in a qdisc.
func (s Stage) Queues() bool { return s == Queue || s == PodQueue }

// ErrDevice: the record names a device that is not known (yet, or any more). After a new device appears, the caller may read
// the devices and try again.
var ErrDevice = errors.New("record names a device that is not there (any more)")

// What else may be wrong with a record.
var (
	errNoHops = errors.New("record has no hooks")
	errOrder  = errors.New("record's hooks are out of order")
	errTwo    = errors.New("record is of two packets")
)

// leadingHops is how many hops a record holds before those that it skips.
const leadingHops = record.MaxHops - 2

// PathOf turns a record into the path of its packet. It does not allocate. A record that makes none is an error, which callers
// count.
func PathOf(rec *record.Record, devices *Devices) (p Path, err error) {
	hops := rec.Passed()
	if rec.Kind == record.Dropped {
		if !rec.Attributed {
			return unattributed(rec, devices), nil
		}
		p.class = classify(rec.Reason, rec.Location)
		if rec.Missent && p.class == noise {
			p.class = otherDrop
		}
	}
	end := rec.Time
	if n := len(hops); n > 0 && hops[n-1].Hook == record.Free {
		end, hops = hops[n-1].Time, hops[:n-1]
	}
	if len(hops) == 0 {
		return Path{}, errNoHops
	}

	from := &hops[0]
	a := devices.Find(from.Ifindex)
	if a == nil {
		return Path{}, ErrDevice
	}
	first := a
	splitAt := hopOfSplit(rec)
	for i := range hops[1:] {
		to, b := &hops[i+1], a
		if to.Ifindex != from.Ifindex {
			if b = devices.Find(to.Ifindex); b == nil {
				return Path{}, ErrDevice
			}
		}
		if to.Time < from.Time {
			return Path{}, errOrder
		}
		stage, at := Unknown, (*Device)(nil) // what lies in between was not kept
		if rec.Skipped == 0 || i+1 != leadingHops {
			if stage, at = stageBetween(from.Hook, a, to.Hook, b); stage == "" {
				return Path{}, errOrder
			}
			// One that was dropped is lost all the same.
			if rec.Kind != record.Dropped && comesInAnew(&hops[0], from, to) {
				return Path{}, errTwo
			}
		}
		// Written in place: copying steps would take as long as all the rest.
		step := p.nextStep()
		step.Stage, step.Device, step.Delay, step.Untimed = stage, at, to.Time-from.Time, stage == Unknown
		// A dequeue proves that there was a queue, whatever the device has now.
		step.NoQueue = stage == Queue && from.Hook == record.Egress && to.Hook == record.Xmit && !b.Queues
		p.push()
		from, a = to, b
		if i+1 == splitAt {
			p.StepsBeforeSplit = p.n
		}
	}

	p.Direction = directionOf(rec.Kind, first, hops[0].Hook, a, from.Hook)
	switch rec.Kind {
	case record.Finished:
		end = from.Time
	case record.InFlight:
		end = max(end, from.Time) // a hook may run while the table is read
		s := inFlightStage(from.Hook, a)
		s.Delay = end - from.Time
		p.setWhere(s)
	default:
		if end < from.Time {
			return Path{}, errOrder
		}
		if rec.Kind == record.Split {
			step := p.nextStep()
			*step = splitStage(rec, from.Hook, a)
			step.Delay = end - from.Time
			p.push()
			break
		}
		s := dropStage(p.class, from.Hook, a)
		if d := devices.unseenQueue; d != nil && from.Hook == record.Ingress && !isNoise(rec, &s, p.class) &&
			(p.class == qdiscDrop || p.class == qdiscDropByLocation && d.Up) {
			s = Step{Stage: Queue, Device: d}
		}
		s.Delay = end - from.Time
		p.setWhere(s)
		if isNoise(rec, &p.Where, p.class) || devices.staysOnLink(rec) {
			p.class = noise
		}
	}
	p.Total = end - hops[0].Time
	return p, nil
}

// comesInAnew tells whether a packet comes in where its journey began, though nothing has sent it out since: then it is another packet,
// with the address and the contents of one that left unseen (while hooks are attached), as all RSTs to SYNs have the same.
func comesInAnew(began, from, to *record.Hop) bool {
	return to.Hook == record.Ingress && from.Hook == record.Ingress && began.Hook == record.Ingress && to.Ifindex == began.Ifindex
}

// stageBetween is the stage from a hook at device a to the next one at device b, and the device where it is: Unknown if
// the delay belongs to no single stage, "" if no packet can pass the two in this order.
func stageBetween(from record.Hook, a *Device, to record.Hook, b *Device) (Stage, *Device) {
	switch to {
	case record.Ingress:
		if from == record.PodQueue && a == b && a.PodEnd != nil {
			return PodQueue, a.PodEnd
		}
		if from != record.Ingress || a.redirects {
			return Unknown, b // sent back up by a redirect, ifb or a pair of veths: no stage of ours
		}
		if b.Role == netdev.RoleOverlay && a != b {
			return Decap, b
		}
		return Forward, b

	case record.Egress:
		switch from {
		case record.Ingress:
			if b.Role == netdev.RoleIFB || a.redirects || b.behindUnseen {
				return Unknown, b // redirected there as it came in: nothing is between; or there may be a queue
			}
			return Forward, b
		case record.Xmit:
			if a == b {
				return "", nil
			}
			if b.behindUnseen {
				return Unknown, b
			}
			if a.Role.Forwards() {
				return Forward, b
			}
			return Encap, a
		case record.Egress, record.Dequeue:
			return Unknown, b // a's xmit was not seen: its queue and encap cannot be told apart
		}

	case record.Socket:
		if from != record.Ingress || a.redirects || b.EgressUnseen {
			return Unknown, b
		}
		return Forward, b // a BPF program handed it to the pod, past the pod's device

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

// hopOfSplit is the index of the hop after which a segment's packet was split; -1 in records of whole packets.
func hopOfSplit(rec *record.Record) int {
	hop := rec.SplitAt - 1
	if rec.Kind == record.Split {
		return -1
	}
	if rec.Skipped > 0 && hop >= leadingHops {
		return max(leadingHops-1, hop-rec.Skipped)
	}
	return hop
}

// splitStage is the stage that ends when the original of a software GSO split is freed.
func splitStage(rec *record.Record, last record.Hook, at *Device) Step {
	if last != record.Egress || rec.SplitAt > 0 {
		// What remains is the splitting itself: after a dequeue the queue has been timed, and where the packet was
		// split at enqueue its segments time the queue.
		return Step{Stage: Unknown, Device: at, Untimed: true}
	}
	// Without a dequeue the packet bypassed an empty qdisc (sch_direct_xmit splits it then). Or the qdisc split it at
	// enqueue before the programs knew that it does: then only the segments were queued.
	return Step{Stage: Queue, Device: at, NoQueue: !at.Queues, Untimed: at.Splits}
}

// inFlightStage is the stage that a packet is in after its last hook.
func inFlightStage(last record.Hook, at *Device) Step {
	switch last {
	case record.PodQueue:
		if at.PodEnd != nil {
			return Step{Stage: PodQueue, Device: at.PodEnd}
		}
	case record.Ingress:
		return Step{Stage: Forward, Device: at}
	case record.Egress:
		if at.Queues {
			return Step{Stage: Queue, Device: at}
		}
	case record.Dequeue:
		return Step{Stage: Queue, Device: at}
	case record.Xmit:
		return stageAfterXmit(at)
	}
	return Step{Stage: Unknown, Device: at}
}

// stageAfterXmit is the stage after a device's xmit.
func stageAfterXmit(at *Device) Step {
	switch {
	case at.Role == netdev.RolePod:
		return Step{Stage: Deliver, Device: at}
	case at.Role == netdev.RoleOverlay, at.Role == netdev.RoleUplink && !at.Leaves:
		return Step{Stage: Encap, Device: at}
	case at.Role.Forwards():
		return Step{Stage: Forward, Device: at}
	}
	return Step{Stage: Unknown, Device: at}
}

// directionOf is the direction of a journey that began at first and was last seen at last.
func directionOf(kind record.Kind, first *Device, firstHook record.Hook, last *Device, lastHook record.Hook) Direction {
	fromPod := first.Role == netdev.RolePod && (firstHook == record.Ingress || firstHook == record.PodQueue) ||
		first.Role == netdev.RoleIFB
	if lastHook == record.Ingress || lastHook == record.PodQueue || last.Role == netdev.RoleIFB {
		switch {
		case !fromPod:
			return In // came from outside
		case kind == record.Finished:
			return Local // to a pod of this node, past its device
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
