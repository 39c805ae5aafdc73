package loader

import (
	"fmt"
	"slices"
	"time"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
)

// Hook is a place where a program of ours is to be: a tracepoint of the kernel, or tc of a device.
type Hook struct {
	Program string `json:"program"` // as metrics name it too; the kernel has other names
	// Name is the tracepoint's, or "ingress" or "egress".
	Name string `json:"hook"`
	// Device and Ifindex are those of a tc hook; "" and 0 for a tracepoint.
	Device  string `json:"device,omitempty"`
	Ifindex int    `json:"ifindex,omitempty"`
}

// nameless is the hook by what stays when its device is renamed.
func (h Hook) nameless() Hook {
	h.Device = ""
	return h
}

// Omission is a hook that is left out, and why.
type Omission struct {
	Hook   string `json:"hook"`
	Device string `json:"device,omitempty"`
	Reason string `json:"reason"` // what is missing, and what is not seen without it
}

// Plan is what to attach.
type Plan struct {
	Hooks   []Hook     `json:"hooks"`
	Omitted []Omission `json:"omitted"`
}

type tracepoint struct {
	tracepoint, program string
	// without is what is not seen where the kernel lacks it.
	without string
	// required: there is nothing to trace without it.
	required bool
}

var tracepoints = [...]tracepoint{
	{"net_dev_start_xmit", "start_xmit", "the end of every stage", true},
	{"qdisc_dequeue", "dequeue", "how long the qdisc held a packet that GSO splits after it", false},
	{"kfree_skb", "free_skb", "drops", false},
	{"consume_skb", "consume", "the queue delay of packets that software GSO splits", false},
	{"tcp_probe", "tcp_received", "round trips, windows and delivery of TCP connections", false},
	{"tcp_retransmit_skb", "tcp_resent", "retransmissions of connections that get no answer", false},
}

// podQueueTracepoint is attached only while a pod has a qdisc at its end of its device: the packets of all devices pass it.
var podQueueTracepoint = tracepoint{"net_dev_queue", "pod_queue", "how long packets wait in pods, and what is in flight there", false}

// podSetup is how long a pod's new device is left alone on kernels without TCX: there our clsact qdisc would stand
// in the way of a CNI plugin that adds an ingress qdisc while it sets the pod up, and fail the pod with it.
const podSetup = 5 * time.Second

// PlanHooks decides what to attach: tc programs at the devices whose role wants them (netdev.Role.WhyUnhooked), tracepoints
// as the kernel has them. age tells how long a device has been known.
func PlanHooks(f Features, devices []netdev.Device, age func(ifindex int) time.Duration) (Plan, error) {
	var p Plan
	for _, t := range tracepoints {
		if !p.add(f, t) && t.required {
			return Plan{}, fmt.Errorf("tracepoint %s: %w: it gives %s", t.tracepoint, errUnsupported, t.without)
		}
	}
	if f.Tracepoints["kfree_skb"] && !f.DropReasons {
		p.Omitted = append(p.Omitted, Omission{Hook: "kfree_skb",
			Reason: "the kernel gives drops no reason; the function that freed the packet is reported instead"})
	}
	if slices.ContainsFunc(devices, func(d netdev.Device) bool { return d.PodEnd != nil && d.PodEnd.Queues }) {
		p.add(f, podQueueTracepoint)
	}
	// Hooks at egress come first, everywhere: a packet that is seen to come in and not to leave would seem to be forwarded while it waits in
	// a queue.
	var ingress []Hook
	table := deviceTable{}
	for _, d := range devices {
		p.Omitted = append(p.Omitted, blindSpots(d)...)
		if reason := d.Role.WhyUnhooked(); reason != "" {
			p.Omitted = append(p.Omitted, Omission{Hook: "tc", Device: d.Name, Reason: reason})
			continue
		}
		if !f.TCX && d.Role == netdev.RolePod && age(d.Index) < podSetup {
			p.Omitted = append(p.Omitted, Omission{Hook: "tc", Device: d.Name,
				Reason: fmt.Sprintf("new: left alone for %v while the pod is set up", podSetup)})
			continue
		}
		if !table.add(d, 0) {
			p.Omitted = append(p.Omitted, Omission{Hook: "tc", Device: d.Name,
				Reason: fmt.Sprintf("no room for this device in the tracer's device table (index %d); its packets are not timed", d.Index)})
			continue
		}
		for _, direction := range d.Role.Hooks() {
			h := Hook{Program: direction, Name: direction, Device: d.Name, Ifindex: d.Index}
			if direction == "ingress" {
				ingress = append(ingress, h)
			} else {
				p.Hooks = append(p.Hooks, h)
			}
		}
	}
	p.Hooks = append(p.Hooks, ingress...)
	return p, nil
}

// add plans a tracepoint, or leaves it out where the kernel has none.
func (p *Plan) add(f Features, t tracepoint) bool {
	if f.Tracepoints[t.tracepoint] {
		p.Hooks = append(p.Hooks, Hook{Program: t.program, Name: t.tracepoint})
		return true
	}
	p.Omitted = append(p.Omitted, Omission{Hook: t.tracepoint, Reason: "the kernel has no such tracepoint; not seen: " + t.without})
	return false
}

// blindSpots are what the hooks at a device do not show.
func blindSpots(d netdev.Device) (spots []Omission) {
	if d.Hides() {
		reason := "a tunnel of kind " + d.Kind + " is not looked into: packets are followed up to its driver and begin anew behind it; "
		if d.Kind == "macsec" {
			reason += "what it sends is no IP packet, and is not seen in the queue of the device below"
		} else {
			reason += "its own packets are the node's"
		}
		spots = append(spots, Omission{Hook: "encap", Device: d.Name, Reason: reason})
	}
	if d.Root.Splits() {
		spots = append(spots, Omission{Hook: "queue", Device: d.Name,
			Reason: "its qdisc splits large packets when it takes them in: of the segments the first and the last are timed"})
	}
	if d.XDP {
		spots = append(spots, Omission{Hook: "ingress", Device: d.Name,
			Reason: "an XDP program runs here before tc: what it drops or redirects is not seen"})
	}
	if d.Kind == "netkit" {
		spots = append(spots, Omission{Hook: "tc", Device: d.Name,
			Reason: "a netkit device runs its BPF programs before tc: what they redirect does not reach the hooks"})
	}
	return spots
}

// tunnelPorts are those of the devices of a kind, as the programs compare them.
func tunnelPorts(devices []netdev.Device, kind string) (ports [bpfobj.TracerTableTUNNEL_PORTS_MAX]uint16) {
	found := ports[:0]
	for _, d := range devices {
		port := hostOrder(d.TunnelPort)
		if d.Kind == kind && port != 0 && !slices.Contains(found, port) && len(found) < len(ports) {
			found = append(found, port)
		}
	}
	return ports
}
