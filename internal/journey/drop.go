package journey

import (
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// unattributed is the path of a dropped packet that had passed no hook: nothing is known but the device, where the kernel
// names one. A drop for a qdisc's reason happened in that device's queue all the same: so it is with the segments that
// tbf makes of a packet at enqueue.
func unattributed(rec *record.Record, devices *Devices) Path {
	p := Path{Where: Step{Stage: Unknown}, class: classify(rec.Reason, rec.Location)}
	if rec.Len > 0 {
		p.Where.Device = devices.Find(rec.Hops[0].Ifindex)
	}
	if d := p.Where.Device; p.class == qdiscDrop && d != nil && d.Queues {
		p.Where.Stage, p.Direction = Queue, Out
		if d.Role == netdev.RolePod {
			p.Direction = In
		}
	}
	if isNoise(rec, &p.Where, p.class) || devices.staysOnLink(rec) {
		p.class = noise
	}
	return p
}

// dropStage is the stage in which a packet was dropped after its last hook.
func dropStage(class dropClass, last record.Hook, at *Device) Step {
	switch last {
	case record.PodQueue:
		if at.PodEnd != nil {
			return Step{Stage: PodQueue, Device: at.PodEnd}
		}
	case record.Ingress:
		return Step{Stage: Forward, Device: at}
	case record.Egress, record.Dequeue:
		switch class {
		case qdiscDrop:
			return Step{Stage: Queue, Device: at}
		case qdiscDropByLocation:
			// The location alone says less than a reason: the same functions free what is sent to a device
			// that is down.
			if at.Queues && at.Up {
				return Step{Stage: Queue, Device: at}
			}
		case policyDrop:
			return Step{Stage: Forward, Device: at} // a tc program behind ours, in front of the qdisc
		}
	case record.Xmit:
		if class != qdiscDrop { // which is in a device below, whose egress was not seen
			s := stageAfterXmit(at)
			if s.Stage == Deliver && class == policyDrop && at.PodEnd != nil {
				s.Device = at.PodEnd // by a rule in the pod
			}
			return s
		}
	}
	return Step{Stage: Unknown, Device: at}
}
