package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// podEndPrefix begins the labels of pods' own ends of their devices.
const podEndPrefix = netdev.PodLabel + ":"

// podEnds are the pods' devices whose ends, in the pods, have that label and a qdisc.
func podEnds(devices []netdev.Device, label string) []netdev.Device {
	var out []netdev.Device
	for _, d := range devices {
		if d.PodEnd != nil && d.PodEnd.Root.Queues() && d.PodEnd.Label() == label {
			out = append(out, d)
		}
	}
	return out
}

// anyUnread tells whether what the qdiscs of pods' ends hold and have counted is not known, of all of them.
func anyUnread(devices []netdev.Device, label string) bool {
	return slices.ContainsFunc(podEnds(devices, label), func(d netdev.Device) bool { return d.PodEnd.Unread != "" })
}

// describePodEnds says what qdiscs the pods have at their own ends.
func (q *queue) describePodEnds(w *window) []string {
	if len(q.ends) == 0 {
		return []string{"no pod has a qdisc on its own " + podEndName(q.device) + " any more, or it is gone"}
	}
	var out []string
	for _, d := range q.ends[:min(maxDevices, len(q.ends))] {
		line := fmt.Sprintf("root qdisc of %s in the pod behind %s is %s; the device's default is noqueue", podEndName(q.device), d.Name, d.PodEnd.Root.Brief())
		if d.PodEnd.Unread != "" {
			line += "; its parameters are not known: " + d.PodEnd.Unread
		}
		out = append(out, line)
		if use, known := w.podShaperUse(&d); known {
			out = append(out, use.String())
		}
	}
	return out
}

// podEndName is what a pod calls its end of the device with that label.
func podEndName(label string) string { return strings.TrimPrefix(label, podEndPrefix) }

// isInPod tells of a finding's or a loss's device whether it is a pod's own end.
func isInPod(label string) bool { return strings.HasPrefix(label, podEndPrefix) }

// inPods are commands to be given in the pods' network namespaces, those of one pod after the other.
func inPods(ends []netdev.Device, commands ...string) []string {
	if len(ends) == 0 {
		ends = []netdev.Device{{}}
	}
	var out []string
	for _, d := range ends[:min(maxDevices, len(ends))] {
		for _, c := range commands {
			out = append(out, inPod(d.Name, c))
		}
	}
	return out
}

// endsOf are the pods' devices behind which packets were lost, as far as their ends are known.
func (w *window) endsOf(lost []aggregate.DropCount) []netdev.Device {
	var out []netdev.Device
	for _, d := range w.to.Devices {
		if d.PodEnd != nil && slices.ContainsFunc(lost, func(l aggregate.DropCount) bool { return l.Device == d.PodEnd.Label() }) {
			out = append(out, d)
		}
	}
	return out
}

// named is the pair by the name that says most: what is held or lost before its Service's pod was chosen has another.
func (w *window) named(p *aggregate.Pair) *aggregate.Pair {
	if p.Service == "" || p.DstWorkload != aggregate.UnknownWorkload {
		return p
	}
	for i := range w.counts.Pairs {
		if other := &w.counts.Pairs[i]; other.DstWorkload != aggregate.UnknownWorkload && endpointsOf(other) == endpointsOf(p) {
			return other
		}
	}
	return p
}
