package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// maxPairs is how many pairs a finding names, maxDevices how many devices of a label.
const maxPairs, maxDevices = 10, 3

// describe says what the queue is, with its parameters and since when.
func (q *queue) describe() []string {
	if len(q.devices) == 0 {
		if q.unread {
			return []string{"which qdiscs there are could not be read"}
		}
		return []string{fmt.Sprintf("%s has no queue any more, or is gone", q.device)}
	}
	var out []string
	for _, d := range q.shown() {
		line := fmt.Sprintf("root qdisc of %s is %s", d.Name, d.Root.Brief())
		if !d.Changed.IsZero() {
			line += " since " + d.Changed.Format("15:04:05")
		}
		if def := defaultOf(&d); def != "" && def != d.Root.Kind {
			line += "; the device's default is " + def
		}
		switch {
		case asAnnotated(&d):
			line += "; the pod's annotation asks for it"
		case d.Bandwidth > 0 && d.Root.Kind == "tbf":
			line += "; the pod's annotation lets it receive " + bitRate(d.Bandwidth)
		}
		out = append(out, line)
	}
	return out
}

// shown are the devices that a finding names: those whose qdisc should do the least first.
func (q *queue) shown() []netdev.Device {
	devices := slices.Clone(q.devices)
	slices.SortStableFunc(devices, func(x, y netdev.Device) int {
		switch a, b := expectOf(&x).delayCritical, expectOf(&y).delayCritical; {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	})
	return devices[:min(maxDevices, len(devices))]
}

// next are the commands that show the queue.
func (q *queue) next() []string {
	if len(q.devices) == 0 {
		return []string{"tc -s qdisc show"}
	}
	var out []string
	for _, d := range q.shown() {
		out = append(out, "tc -s qdisc show dev "+d.Name)
		if classful(d.Root) {
			out = append(out, "tc -s class show dev "+d.Name)
		}
	}
	return out
}

// lostEvidence says how far the figures are to be trusted.
func lostEvidence(s *aggregate.Snapshot) []string {
	if s.MissedRecords == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s of %s journeys did not fit into our tables, and are made up for in the figures",
		group(s.MissedRecords), group(s.MissedRecords+s.Records))}
}

// names lists pairs by name, those given first, then those of keys that are not among them, and how many there are.
// Pairs of both ways and of several services are one.
func names(pairs []pairQueue, keys []aggregate.PairKey, all []aggregate.Pair) ([]Pair, int) {
	out := []Pair{}
	seen := make(map[aggregate.PairKey]bool, len(pairs)+len(keys))
	add := func(key aggregate.PairKey, service string) {
		key.Direction = ""
		if seen[key] {
			return
		}
		seen[key] = true
		if len(out) == maxPairs {
			return
		}
		p := Pair{Src: name(key.SrcNamespace, key.SrcWorkload), Dst: name(key.DstNamespace, key.DstWorkload)}
		if service != "" {
			p.Service = &service
		}
		out = append(out, p)
	}
	for _, p := range pairs {
		add(p.PairKey, p.Service)
	}
	for _, key := range keys {
		service := ""
		if i := slices.IndexFunc(all, func(p aggregate.Pair) bool { return p.PairKey == key }); i >= 0 {
			service = all[i].Service
		}
		add(key, service)
	}
	return out, len(seen)
}

func name(namespace, workload string) string {
	if namespace == "" {
		return workload
	}
	return namespace + "/" + workload
}
