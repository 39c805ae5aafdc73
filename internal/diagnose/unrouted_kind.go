package diagnose

import (
	"cmp"
	"math"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// unroutedKind is in which way rules, routes and neighbours lost packets.
type unroutedKind struct {
	id    string
	cause Cause
	// name is what is at fault, where that is known: what has one name has one finding, wherever the packets were lost. Without
	// one each stage has its own.
	name string
	rule func(w *window, at aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule
}

// unroutedKey tells kinds apart.
type unroutedKey struct{ id, name string }

func (k *unroutedKind) key() unroutedKey { return unroutedKey{k.id, k.name} }

// unroutedPart is what of a count of losses is of one kind.
type unroutedPart struct {
	kind unroutedKind
	lost aggregate.DropCount
	of   float64 // its share of the count
	// pairs are those that lost it; nil where that is not known, and each pair is taken to have its share.
	pairs map[endpoints]bool
}

func lostOf(parts []unroutedPart) (lost []aggregate.DropCount) {
	for i := range parts {
		lost = append(lost, parts[i].lost)
	}
	return lost
}

// unroutedKind goes by what the kernel's tables say of such losses.
func (w *window) unroutedKind(d *aggregate.DropCount, l *record.RouteLookup) unroutedKind {
	neighbour := MeansNeighbour(d.Reason, d.Location)
	switch {
	case MeansFullTable(d.Reason, d.Location):
		return unroutedKind{"full table", Neighbour, "all", fullTable}
	case d.Reason == record.OtherHost:
		return unroutedKind{"missent", Neighbour, l.Device, missent}
	case meansNoForwardingEntry(d.Reason, d.Location):
		return unroutedKind{"forwarding entry", Neighbour, l.Out, noForwardingEntry}
	case l.Disabled != "":
		return unroutedKind{"forwarding", NoRoute, l.Disabled, notForwarding}
	case neighbour && l.OutIsPod && (l.OutState != "" || l.PeerDown):
		return unroutedKind{"pod's device", LinkDown, l.Out, podDown}
	case neighbour && d.Stage == journey.PodQueue:
		return unroutedKind{"gateway", Neighbour, gatewayName(l), silentGateway}
	case neighbour && w.isAlone(l):
		return unroutedKind{"neighbour", Neighbour, "hosts at " + l.Out, silentNeighbour}
	case neighbour && l.NextHop.IsValid():
		return unroutedKind{"neighbour", Neighbour, l.NextHop.String() + l.Out, silentNeighbour}
	case neighbour:
		return unroutedKind{"neighbour", Neighbour, "", silentNeighbour}
	}
	return unroutedKind{"route", NoRoute, l.Result + l.Route + l.Rule, noRoute}
}

// gatewayName is one for all pods whose gateway is silent for one reason.
func gatewayName(l *record.RouteLookup) string {
	if l.NextHop == l.Destination && l.NextHop.IsValid() {
		return l.Device
	}
	if l.GatewaySilent == "" && l.NextHop.IsValid() {
		return l.NextHop.String()
	}
	return cmp.Or(l.GatewaySilent, l.Device)
}

// isAlone tells of a next hop that it is the destination itself, which nobody is known to have, and nobody's gateway: whoever scans a
// network asks for many such.
func (w *window) isAlone(l *record.RouteLookup) bool {
	if !l.NextHop.IsValid() || l.NextHop != l.Destination {
		return false
	}
	isGateway := slices.ContainsFunc(w.to.Lookups, func(other record.RouteLookup) bool {
		return other.NextHop == l.NextHop && other.Destination != l.Destination
	})
	return !isGateway && !slices.ContainsFunc(w.counts.Pairs, func(p aggregate.Pair) bool {
		return p.Dropped != nil && p.Dropped.Destination.Addr() == l.Destination && (p.Service != "" || inCluster(p.DstNamespace, p.DstWorkload))
	})
}

// unroutedParts divides a count of losses by what the kernel's tables say of them: several faults may lose packets for one reason at one
// place at once.
func (w *window) unroutedParts(d *aggregate.DropCount) (parts []unroutedPart) {
	said := w.lookupsOf(d)
	if len(said) == 0 {
		return []unroutedPart{{kind: w.unroutedKind(d, &record.RouteLookup{}), lost: *d}}
	}
	partOf := make([]int, len(said)) // index of its part
	var weights []uint64             // of the parts
	for i := range said {
		kind := w.unroutedKind(d, &said[i])
		at := slices.IndexFunc(parts, func(p unroutedPart) bool { return p.kind.key() == kind.key() })
		if at < 0 {
			at = len(parts)
			parts, weights = append(parts, unroutedPart{kind: kind, lost: *d}), append(weights, 0)
		}
		partOf[i] = at
		weights[at] += max(1, said[i].Packets)
	}
	if len(parts) == 1 {
		return parts
	}
	if pairs, lost, ok := w.pairsOfParts(d, said, partOf, len(parts)); ok {
		weights = lost
		for i := range parts {
			parts[i].pairs = pairs[i]
		}
	}
	all := uint64(0)
	for _, n := range weights {
		all += n
	}
	for i := range parts {
		parts[i].of = float64(weights[i]) / float64(all)
		part := &parts[i].lost
		part.Packets, part.Segments, part.SYNs = d.Packets*weights[i]/all, d.Segments*weights[i]/all, d.SYNs*weights[i]/all
	}
	return parts
}

// pairsOfParts finds out by the destinations which pairs lost which part, and how much. What no look-up is about goes with the first.
// It is false if the pairs do not tell: one may have replicas behind several faults.
func (w *window) pairsOfParts(d *aggregate.DropCount, said []record.RouteLookup, partOf []int, parts int) (pairs []map[endpoints]bool, lost []uint64, ok bool) {
	pairs, lost = make([]map[endpoints]bool, parts), make([]uint64, parts)
	for i := range pairs {
		pairs[i] = map[endpoints]bool{}
	}
	known := map[endpoints]int{}
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		n := uint64(0)
		for _, of := range p.Drops {
			if of.DropKey == d.DropKey {
				n += of.Packets
			}
		}
		if n == 0 {
			continue
		}
		part := 0
		if p.Dropped != nil {
			about := slices.IndexFunc(said, func(l record.RouteLookup) bool { return l.Destination == p.Dropped.Destination.Addr() })
			if about >= 0 {
				part = partOf[about]
			}
		}
		e := endpointsOf(p)
		if before, ok := known[e]; ok && before != part {
			return nil, nil, false
		}
		known[e] = part
		pairs[part][e] = true
		lost[part] += n
	}
	return pairs, lost, !slices.Contains(lost, 0)
}

// onlyThose is the window without what of the same counts other kinds lost.
func (w *window) onlyThose(parts []unroutedPart) *window {
	if !slices.ContainsFunc(parts, func(p unroutedPart) bool { return p.pairs != nil }) {
		return w
	}
	counts := *w.counts
	counts.Pairs, counts.Drops = slices.Clone(counts.Pairs), slices.Clone(counts.Drops)
	for i := range parts {
		part := &parts[i]
		if part.pairs == nil {
			continue
		}
		for j := range counts.Drops {
			if all := &counts.Drops[j]; all.DropKey == part.lost.DropKey {
				all.Packets = uint64(math.Round(part.of * float64(all.Packets)))
			}
		}
		for j := range counts.Pairs {
			if p := &counts.Pairs[j]; !part.pairs[endpointsOf(p)] {
				p.Drops = slices.DeleteFunc(slices.Clone(p.Drops), func(d aggregate.DropCount) bool { return d.DropKey == part.lost.DropKey })
			}
		}
	}
	of := *w
	of.counts = &counts
	return &of
}

// lookups are what the kernel's tables say of losses of one kind: of those with the most packets first.
func (w *window) lookups(lost []aggregate.DropCount, kind unroutedKey) (out []record.RouteLookup) {
	for i := range lost {
		for _, l := range w.lookupsOf(&lost[i]) {
			if k := w.unroutedKind(&lost[i], &l); k.key() == kind && !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	slices.SortStableFunc(out, func(x, y record.RouteLookup) int { return cmp.Compare(y.Packets, x.Packets) })
	return out
}

// lookupsOf are what the kernel's tables say of such losses, likewise: of those at the same device, where there are some.
func (w *window) lookupsOf(d *aggregate.DropCount) (out []record.RouteLookup) {
	for _, l := range w.to.Lookups {
		if d.Reason == cmp.Or(l.Reason, journey.NotSpecified) && d.Location == l.Location && (d.Stage == journey.PodQueue) == l.InPod {
			out = append(out, l)
		}
	}
	var here []record.RouteLookup
	for _, l := range out {
		if w.labelOf(d.Stage, &l) == d.Device {
			here = append(here, l)
		}
	}
	if len(here) > 0 {
		return here
	}
	return out
}

// labelOf is that of the device at which a stage's losses are counted; "" if it is not known.
func (w *window) labelOf(stage journey.Stage, l *record.RouteLookup) string {
	name := l.Device
	if stage == journey.Encap || stage == journey.Queue {
		name = l.Out
	}
	at := slices.IndexFunc(w.to.Devices, func(d netdev.Device) bool { return d.Name == name })
	switch {
	case name == "" || at < 0:
		return ""
	case stage == journey.PodQueue:
		return w.to.Devices[at].PodEnd.Label()
	}
	return w.to.Devices[at].Role.Label(name)
}
