package metrics

import (
	"maps"

	"tracer/internal/netdev"
)

// qdiscAccumulator makes counters that never go down of those of qdiscs, which go with their device and start again when
// a qdisc is replaced.
type qdiscAccumulator struct {
	last map[leafKey]leafCount     // as last read
	gone map[deviceQdisc]leafCount // of qdiscs that are no longer there
}

// leafKey is all leaf qdiscs of one kind at one device.
type leafKey struct {
	ifindex int
	deviceQdisc
}

// deviceQdisc is a kind of qdisc at a device as it is labelled.
type deviceQdisc struct{ device, kind string }

type leafCount struct{ drops, overlimits uint64 }

func (c leafCount) plus(d leafCount) leafCount {
	return leafCount{c.drops + d.drops, c.overlimits + d.overlimits}
}

// update takes the qdiscs' counters as read now.
func (a *qdiscAccumulator) update(devices []netdev.Device) {
	now := make(map[leafKey]leafCount)
	labels := map[string]bool{netdev.PodLabel: true} // the totals of pods that are gone stay
	for i := range devices {
		d := &devices[i]
		label := d.Role.Label(d.Name)
		labels[label] = true
		for q := range d.Root.Leaves() {
			if q.Queues() {
				k := leafKey{d.Index, deviceQdisc{label, q.Kind}}
				now[k] = now[k].plus(leafCount{q.Drops, q.Overlimits})
			}
		}
	}
	if a.gone == nil {
		a.gone = make(map[deviceQdisc]leafCount)
	}
	for k, before := range a.last {
		if n, ok := now[k]; !ok || n.drops < before.drops || n.overlimits < before.overlimits {
			a.gone[k.deviceQdisc] = a.gone[k.deviceQdisc].plus(before)
		}
	}
	maps.DeleteFunc(a.gone, func(k deviceQdisc, _ leafCount) bool { return !labels[k.device] })
	a.last = now
}

// totals are the counts since each device came, or since the start for those of pods.
func (a *qdiscAccumulator) totals() map[deviceQdisc]leafCount {
	sum := maps.Clone(a.gone)
	for k, n := range a.last {
		sum[k.deviceQdisc] = sum[k.deviceQdisc].plus(n)
	}
	return sum
}
