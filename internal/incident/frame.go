package incident

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// A frame holds at most so much, chosen by what the report names and then by what is busiest: an incident is to cost little where a
// node has thousands of pairs and hundreds of devices.
const (
	maxPairs       = 12
	maxPodDevices  = 8
	maxInFlight    = 8  // pairs of each stage
	maxUnanswered  = 16 // conversations
	maxEvents      = 32
	maxFindings    = 10
	maxChecked     = 5
	maxCounterRise = 64

	maxHooksMissing = 16
)

// Frame is what was seen between two times.
type Frame struct {
	Taken time.Time `json:"taken"` // its end
	// Counts are what was counted in it: of all pairs together by stage and drop, and of at most 12 pairs, with their histograms.
	Counts *aggregate.Snapshot `json:"counts"`
	// Totals are of all pairs together; nil in a file of an earlier version.
	Totals *Totals `json:"totals,omitempty"`
	// Seen is how much of the packets was seen; nil in a file of an earlier version.
	Seen *Seen `json:"seen,omitempty"`
	// Devices are those at its end, with their qdisc trees and counters; of pods' at most 8.
	Devices []netdev.Device `json:"devices"`
	// Before are the counters of these devices at its beginning, of those that were there.
	Before []Counters `json:"before,omitempty"`
	// Events are the changes of links, routes and qdiscs in it.
	Events []netdev.Event `json:"events,omitempty"`
	// Rises are by how much the kernel's and the network cards' counters rose in it, by their names ("TcpRetransSegs",
	// "softnet dropped", "eth0 rx_missed_errors").
	Rises map[string]uint64 `json:"rises,omitempty"`
	// Report is the agent's of that time, of its own window.
	Report diagnose.Report `json:"report"`
	// Slowest are the slowest journeys that ended in it, Lost packets that were lost, one of each reason and place.
	Slowest []trace.Trace `json:"slowest,omitempty"`
	Lost    []trace.Trace `json:"lost,omitempty"`
}

// Totals are what was counted in a frame of all pairs together.
type Totals struct {
	Pairs   int     `json:"pairs"` // that had packets
	Packets float64 `json:"packets"`
	Bytes   float64 `json:"bytes"`
}

// Seen is how much of the packets was seen at a frame's end: what overview.About has of it.
type Seen struct {
	HooksUp       int      `json:"hooks_up"`
	HooksMissing  []string `json:"hooks_missing,omitempty"` // at most 16
	SampleRatio   float64  `json:"sample_ratio"`
	RecordsMissed uint64   `json:"records_lost"`
	WatchedOneIn  uint64   `json:"watched_one_in,omitempty"`
}

// SeenOf is that of an overview.
func SeenOf(a *overview.About) *Seen {
	return &Seen{a.HooksUp, head(a.HooksMissing, maxHooksMissing), a.SampleRatio, a.RecordsMissed, a.WatchedOneIn}
}

// Counters are those of a device.
type Counters struct {
	Index   int            `json:"index"`
	Traffic netdev.Traffic `json:"traffic"`
	Root    netdev.Qdisc   `json:"root_qdisc"`
}

// NewFrame makes one of two snapshots, and what the agent saw and said at the second.
func NewFrame(from, to *diagnose.Snapshot, seen *Seen, report *diagnose.Report, slowest, lost []trace.Trace) Frame {
	r := *report
	r.Findings = head(r.Findings, maxFindings)
	r.Checked = head(r.Checked, maxChecked)
	named := namesIn(&r)
	window, totals := counts(from.Counts, to.Counts, named)
	chosen := devices(from.Devices, to.Devices, named)
	return Frame{
		Taken: to.Taken, Report: r, Slowest: slowest, Lost: lost, Seen: seen,
		Counts: window, Totals: totals, Devices: chosen, Before: countersOf(from.Devices, chosen),
		Events: EventsAfter(to.Events, from.Taken), Rises: rises(from, to),
	}
}

func head[T any](list []T, most int) []T { return list[:min(most, len(list))] }

// workloads are some: their namespaces, by their names. So thousands of pairs are looked up without a string made for each.
type workloads map[string][]string

func (w workloads) has(namespace, name string) bool { return slices.Contains(w[name], namespace) }

// add adds one by its name as reports have it. A name without a namespace may have a slash too.
func (w workloads) add(text string) {
	if !w.has("", text) {
		w[text] = append(w[text], "")
	}
	if namespace, name := splitWorkload(text); !w.has(namespace, name) {
		w[name] = append(w[name], namespace)
	}
}

// splitWorkload splits namespace/name. What is no pod's has no namespace.
func splitWorkload(text string) (namespace, name string) {
	if namespace, name, found := strings.Cut(text, "/"); found {
		return namespace, name
	}
	return "", text
}

// namesIn are the workloads that the report's findings name.
func namesIn(r *diagnose.Report) workloads {
	named := workloads{}
	for i := range r.Findings {
		for _, p := range r.Findings[i].Pairs {
			named.add(p.Src)
			named.add(p.Dst)
		}
	}
	return named
}

// counts is the window between two snapshots, of the pairs that matter most, and what all pairs have counted in it. They are chosen
// first, since histograms are subtracted and written for each.
func counts(from, to *aggregate.Snapshot, named workloads) (*aggregate.Snapshot, *Totals) {
	if from == nil {
		from = &aggregate.Snapshot{}
	}
	type candidate struct {
		then, now, rank int // then is -1 for a pair that was not there
		packets         float64
	}
	var chosen []candidate // the first comes first
	compare := func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.packets, a.packets), cmp.Compare(a.now, b.now))
	}
	totals := &Totals{}
	k := 0
	for i := range to.Pairs {
		p := &to.Pairs[i]
		bytes := p.Bytes
		c := candidate{then: -1, now: i, packets: p.Packets}
		lost := len(p.Drops) > 0
		for k < len(from.Pairs) && from.Pairs[k].PairKey != p.PairKey && from.Pairs[k].Compare(p.PairKey) < 0 { // both are in this order
			k++
		}
		if k < len(from.Pairs) && from.Pairs[k].PairKey == p.PairKey {
			c.then = k
			if then := &from.Pairs[k]; p.Packets >= then.Packets { // else it began anew
				c.packets -= then.Packets
				bytes -= then.Bytes
			}
			lost = dropped(p) > dropped(&from.Pairs[k])
		}
		if c.packets > 0 {
			totals.Pairs++
			totals.Packets += c.packets
			totals.Bytes += bytes
		}
		switch {
		case named.has(p.SrcNamespace, p.SrcWorkload) && named.has(p.DstNamespace, p.DstWorkload):
			c.rank = 0
		case lost:
			c.rank = 1
		case c.packets > 0:
			c.rank = 2
		default:
			continue
		}
		if len(chosen) == maxPairs {
			if compare(c, chosen[maxPairs-1]) > 0 {
				continue
			}
			chosen = chosen[:maxPairs-1]
		}
		at, _ := slices.BinarySearchFunc(chosen, c, compare)
		chosen = slices.Insert(chosen, at, c)
	}
	slices.SortFunc(chosen, func(a, b candidate) int { return cmp.Compare(a.now, b.now) })
	then, now := *from, *to
	then.Flows, now.Flows, then.Pairs, now.Pairs = nil, nil, nil, nil
	for _, c := range chosen {
		now.Pairs = append(now.Pairs, to.Pairs[c.now])
		if c.then >= 0 {
			then.Pairs = append(then.Pairs, from.Pairs[c.then])
		}
	}
	now.InFlight = slices.Clone(now.InFlight)
	for i := range now.InFlight {
		now.InFlight[i].Pairs = head(now.InFlight[i].Pairs, maxInFlight)
	}
	now.Unanswered, now.Blocked = head(now.Unanswered, maxUnanswered), head(now.Blocked, maxUnanswered)
	return now.Since(&then), totals
}

func dropped(p *aggregate.Pair) (n uint64) {
	for i := range p.Drops {
		n += p.Drops[i].Packets
	}
	return n
}

// devices are all that are no pod's, and the pods' that matter most: those of workloads that the report names, then those that
// drop, then those with a queue.
func devices(from, to []netdev.Device, named workloads) []netdev.Device {
	drops := make(map[int]uint64, len(from))
	for i := range from {
		drops[from[i].Index] = from[i].Root.Drops + from[i].Traffic.TxDrops + from[i].Traffic.RxDrops
	}
	type pod struct{ at, rank int }
	var out []netdev.Device
	var pods []pod
	for i := range to {
		d := &to[i]
		if d.Role != netdev.RolePod {
			out = append(out, *d)
			continue
		}
		p := pod{i, 3}
		then, known := drops[d.Index]
		switch {
		case d.Workload != "" && named.has(splitWorkload(d.Workload)):
			p.rank = 0
		case known && d.Root.Drops+d.Traffic.TxDrops+d.Traffic.RxDrops > then:
			p.rank = 1
		case d.Root.Queues():
			p.rank = 2
		}
		pods = append(pods, p)
	}
	slices.SortStableFunc(pods, func(a, b pod) int { return cmp.Compare(a.rank, b.rank) })
	for _, p := range head(pods, maxPodDevices) {
		out = append(out, to[p.at])
	}
	return out
}

// countersOf are what those of the chosen devices had counted that were there.
func countersOf(from, chosen []netdev.Device) (out []Counters) {
	wanted := make(map[int]bool, len(chosen))
	for i := range chosen {
		wanted[chosen[i].Index] = true
	}
	for i := range from {
		if d := &from[i]; wanted[d.Index] {
			out = append(out, Counters{d.Index, d.Traffic, d.Root})
		}
	}
	return out
}

// EventsAfter are the latest of those after a time.
func EventsAfter(all []netdev.Event, after time.Time) []netdev.Event {
	var out []netdev.Event
	for _, e := range all {
		if e.Time.After(after) {
			out = append(out, e)
		}
	}
	return out[max(0, len(out)-maxEvents):]
}

// rises are by how much counters rose, those that rose most where there are too many.
func rises(from, to *diagnose.Snapshot) map[string]uint64 {
	all := map[string]uint64{}
	add := func(name string, then, now uint64) {
		if now > then {
			all[name] = now - then
		}
	}
	if from.Stats.Protocols != nil {
		for name, now := range to.Stats.Protocols {
			add(name, from.Stats.Protocols[name], now)
		}
	}
	if then, now := from.Stats.Softnet, to.Stats.Softnet; then != nil && now != nil {
		add("softnet processed", then.Processed, now.Processed)
		add("softnet dropped", then.Dropped, now.Dropped)
		add("softnet time_squeeze", then.TimeSqueeze, now.TimeSqueeze)
	}
	if then, now := from.Stats.Conntrack, to.Stats.Conntrack; then != nil && now != nil {
		add("conntrack insert_failed", then.InsertFailed, now.InsertFailed)
		add("conntrack drop", then.Drop, now.Drop)
		add("conntrack early_drop", then.EarlyDrop, now.EarlyDrop)
	}
	for _, card := range to.NICs {
		at := slices.IndexFunc(from.NICs, func(n netdev.NIC) bool { return n.Device == card.Device })
		if at < 0 {
			continue
		}
		for name, now := range card.Counters {
			add(card.Device+" "+name, from.NICs[at].Counters[name], now)
		}
	}
	if len(all) <= maxCounterRise {
		return all
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(all[b], all[a]), cmp.Compare(a, b)) })
	for _, name := range names[maxCounterRise:] {
		delete(all, name)
	}
	return all
}
