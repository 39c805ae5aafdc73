package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// maxPairs is how many pairs a finding names, maxDevices how many devices of a label.
const maxPairs, maxDevices = 10, 3

// maxLines is how many changes, or answers of the routing table, a finding names.
const maxLines = 3

// describe says what qdiscs the queue has, with its parameters and since when.
func (q *queue) describe(w *window) []string {
	if q.stage == journey.PodQueue {
		return q.describePodEnds(w)
	}
	if len(q.devices) == 0 {
		if q.unknownQdisc {
			return []string{"the qdiscs could not be read"}
		}
		return []string{fmt.Sprintf("%s has no queue any more, or is gone", q.device)}
	}
	var out []string
	for _, d := range q.shown() {
		line := fmt.Sprintf("root qdisc of %s is %s", d.Name, d.Root.Brief())
		if !d.Changed.IsZero() {
			line += " since " + d.Changed.Format("15:04:05")
		}
		if def := DefaultQdisc(&d); def != "" && def != d.Root.Kind {
			line += "; the device's default is " + def
		}
		if d.Role == netdev.RoleIFB && d.Workload != "" {
			line += "; it gets what " + d.Workload + " sends"
		}
		out = append(out, line)
		if use, known := w.shaperUse(&d); known {
			out = append(out, use.String())
		}
	}
	return out
}

// shown are the devices that a finding names: those whose qdisc should do the least first.
func (q *queue) shown() []netdev.Device {
	devices := slices.Clone(q.devices)
	slices.SortStableFunc(devices, func(x, y netdev.Device) int {
		return cmp.Compare(deviceThreshold(&x).CriticalDelay, deviceThreshold(&y).CriticalDelay)
	})
	return devices[:min(maxDevices, len(devices))]
}

// next are the commands that show the queue.
func (q *queue) next() []string {
	if q.stage == journey.PodQueue {
		return inPods(q.ends, "tc -s qdisc show dev "+shellWord(podEndName(q.device)))
	}
	if len(q.devices) == 0 {
		return []string{"tc -s qdisc show"}
	}
	var out []string
	for _, d := range q.shown() {
		out = append(out, next(QdiscDelay, "DEVICE", shellWord(d.Name))...)
		if classful(d.Root) {
			out = append(out, "tc -s class show dev "+shellWord(d.Name))
		}
	}
	return out
}

// missedEvidence says how far the figures are to be trusted.
func missedEvidence(s *aggregate.Snapshot) []string {
	if s.MissedRecords == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s of %s records were missed; the figures are scaled up for them",
		group(s.MissedRecords), group(s.MissedRecords+s.Records))}
}

// pairNames lists pairs by name, those given first, and how many there are. Pairs of both ways and of several Services are
// one.
func pairNames(pairs []*aggregate.Pair) ([]Pair, int) {
	out := []Pair{}
	seen := make(map[aggregate.PairKey]bool, len(pairs))
	for _, p := range pairs {
		key := p.PairKey
		key.Direction = ""
		if seen[key] {
			continue
		}
		seen[key] = true
		if len(out) == maxPairs {
			continue
		}
		named := Pair{Src: qualified(p.SrcNamespace, p.SrcWorkload), Dst: qualified(p.DstNamespace, p.DstWorkload)}
		if p.Service != "" {
			named.Service = &p.Service
		} else {
			named.EndpointOf = p.EndpointOf
		}
		if e := p.Ends; e != nil && e.Source.IsValid() && e.Destination.IsValid() {
			named.Addresses = &PairAddresses{e.Source.Addr().Unmap(), e.Destination.Addr().Unmap()}
		}
		out = append(out, named)
	}
	return out, len(seen)
}

func qualified(namespace, workload string) string {
	if namespace == "" {
		return workload
	}
	return namespace + "/" + workload
}

// changes are evidence of what was changed near the onset of a finding, at its device or in its routes, the last ones.
func (w *window) changes(f *Finding) []string {
	var out []string
	for i := len(w.to.Events) - 1; i >= 0 && len(out) < maxLines; i-- {
		e := &w.to.Events[i]
		if e.Time.Before(w.from.Taken.Add(-onset)) {
			break
		}
		if !f.concerns(e) {
			continue
		}
		out = append(out, strings.Join(strings.Fields(e.Time.Format("15:04:05")+": "+e.Device+" "+e.Text), " "))
	}
	return out
}

// concerns tells whether a change may have to do with the finding.
func (f *Finding) concerns(e *netdev.Event) bool {
	switch e.Kind {
	case netdev.RouteEvent:
		return f.Cause == NoRoute || f.Cause == Neighbour || f.Cause == RPFilter
	case netdev.QdiscEvent:
		return f.Stage == journey.Queue && f.Device == e.Device
	}
	return f.Device == e.Device || e.Role.LeadsOut()
}
