package export

import (
	"maps"

	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// qdiscLedger makes counters that never go down of those of qdiscs, which vanish with their device and start again
// when a qdisc is replaced.
type qdiscLedger struct {
	last map[leafKey]leafCount     // as last read
	gone map[deviceQdisc]leafCount // of what has been there
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
func (l *qdiscLedger) update(devices []netdev.Device) {
	now := make(map[leafKey]leafCount)
	names := map[string]bool{journey.PodLabel: true} // the totals of departed pods stay
	for i := range devices {
		d := &devices[i]
		label := d.Role.Label(d.Name)
		names[label] = true
		for q := range d.Root.Leaves() {
			if q.Queues() {
				k := leafKey{d.Index, deviceQdisc{label, q.Kind}}
				now[k] = now[k].plus(leafCount{q.Drops, q.Overlimits})
			}
		}
	}
	if l.gone == nil {
		l.gone = make(map[deviceQdisc]leafCount)
	}
	for k, before := range l.last {
		if n, ok := now[k]; !ok || n.drops < before.drops || n.overlimits < before.overlimits {
			l.gone[k.deviceQdisc] = l.gone[k.deviceQdisc].plus(before)
		}
	}
	maps.DeleteFunc(l.gone, func(k deviceQdisc, _ leafCount) bool { return !names[k.device] })
	l.last = now
}

// totals are the counts since each device came, or since the start for those of pods.
func (l *qdiscLedger) totals() map[deviceQdisc]leafCount {
	sum := maps.Clone(l.gone)
	for k, n := range l.last {
		sum[k.deviceQdisc] = sum[k.deviceQdisc].plus(n)
	}
	return sum
}
