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

// losses are counts of packets lost that wait for an explanation.
type losses []aggregate.DropCount

// lossesOf are all losses of a window.
func lossesOf(s *aggregate.Snapshot) losses {
	var l losses
	for _, d := range s.Drops {
		if d.Loss && d.Packets > 0 {
			l = append(l, d)
		}
	}
	return l
}

// take removes and returns those that match.
func (l *losses) take(match func(*aggregate.DropCount) bool) []aggregate.DropCount {
	var taken []aggregate.DropCount
	*l = slices.DeleteFunc(*l, func(d aggregate.DropCount) bool {
		if !match(&d) {
			return false
		}
		taken = append(taken, d)
		return true
	})
	return taken
}

// has tells whether there is one that matches.
func (l losses) has(match func(*aggregate.DropCount) bool) bool {
	return slices.ContainsFunc(l, func(d aggregate.DropCount) bool { return match(&d) })
}

// takeSome removes and returns at most n packets of those that match: a count of which only a part is explained stays
// with the rest. If n is nearly all of them they are the same packets, as counts are not read at one instant.
func (l *losses) takeSome(n uint64, match func(*aggregate.DropCount) bool) []aggregate.DropCount {
	all := uint64(0)
	for i := range *l {
		if d := &(*l)[i]; match(d) {
			all += d.Packets
		}
	}
	if float64(n) >= sameCount*float64(all) {
		n = all
	}
	var taken []aggregate.DropCount
	for i := range *l {
		if d := &(*l)[i]; n > 0 && match(d) {
			part := *d
			part.Packets = min(n, d.Packets)
			part.SYNs = d.SYNs * part.Packets / d.Packets
			d.Packets -= part.Packets
			d.SYNs -= part.SYNs
			n -= part.Packets
			taken = append(taken, part)
		}
	}
	*l = slices.DeleteFunc(*l, func(d aggregate.DropCount) bool { return d.Packets == 0 })
	return taken
}

// sameCount is the least share of a count that is taken for all of it.
const sameCount = 0.9

// lossRule says of packets that were lost outside of a queue what makes a finding of them.
type lossRule struct {
	cause     Cause
	subject   string // of the summary's sentence
	threshold Threshold
	// certainty is how surely the kernel's reason, or the function where it gives none, means this cause.
	certainty float64
	evidence  []string
	next      []string // nil: the cause's
	mild      bool     // a warning at most
	// shown tells that the kernel's tables show the fault: few packets of which none came through are no strays then.
	shown bool
	place *aggregate.StageKey // where the fault is, if not where the packets were lost
	// only tells which of the pairs it is about; nil: all.
	only func(*hit) bool
	// anybody tells that a pair without a pod counts: one of a Service.
	anybody bool
}

// finding makes one of packets lost at one stage, unless they are too few.
func (r *lossRule) finding(w *window, at aggregate.StageKey, lost []aggregate.DropCount) *Finding {
	total := packetsOf(lost)
	hits := w.hits(lost)
	if r.only != nil {
		all := len(hits)
		if hits = slices.DeleteFunc(hits, func(h hit) bool { return !r.only(&h) }); len(hits) < all {
			total = 0
			for _, h := range hits {
				total += h.lost
			}
		}
	}
	hurt, passed, fruitless := uint64(0), uint64(0), uint64(0) // packets of the pairs that count
	pain := 0.0
	for _, h := range hits {
		if !r.anybody && !h.involvesPod() {
			continue
		}
		if at.Stage == journey.Deliver { // their journeys had ended at the pod's device
			h.passed -= min(h.passed, h.lost)
		}
		hurt += h.lost
		pain += float64(h.lost) * w.rto(h.Pair)
		passed += h.passed
		if h.passed == 0 {
			fruitless += h.lost
		}
	}
	hurt = min(hurt, total)
	ratio := float64(hurt) / float64(max(1, hurt+passed))
	blocked := w.blockedOf(hits)
	if len(blocked) > 0 && ratio >= r.threshold.CriticalLoss {
		blocked = nil // it is told anyway
	}
	if hurt < minSamples || ratio < r.threshold.WarnLoss && len(blocked) == 0 {
		return nil
	}
	f := &Finding{
		Kind: KindDrop, Cause: r.cause, Severity: Warning,
		Stage: at.Stage, Device: at.Device, Direction: at.Direction,
		Drops: &Drops{Packets: total, Ratio: &ratio, Reason: mainReason(lost)},
		Next:  r.next,
		pain:  pain / w.seconds(),
	}
	if r.place != nil {
		f.Stage, f.Device, f.Direction = r.place.Stage, r.place.Device, r.place.Direction
	}
	if f.Next == nil {
		f.Next = next(r.cause)
		if at.Stage == journey.PodQueue {
			f.Next = inPods(w.endsOf(lost), f.Next...)
		}
	}
	if !r.mild && ratio >= r.threshold.CriticalLoss && hurt >= max(r.threshold.CriticalCount, minCritical) && (hurt > fruitless || hurt > maxStrays || r.shown) {
		f.Severity = Critical
	}
	f.Pairs, f.PairsTotal = hitNames(hits)
	f.subject, f.predicate = r.subject, "loses "+percent(ratio)+" of "+listed(f.Pairs, f.PairsTotal)
	if len(blocked) > 0 {
		f.predicate = "loses all of " + describeBlocked(&blocked[0])
		if !r.mild {
			f.Severity = Critical
		}
	}
	f.Confidence = confidence(float64(hurt), r.certainty, w.counts)
	f.Evidence = append([]string{fmt.Sprintf("%s of %s of these pairs were lost %s (%s)",
		group(hurt), packets(hurt+passed), locate(at), strings.Join(reasons(lost), ", "))}, r.evidence...)
	for _, b := range blocked[:min(maxLines, len(blocked))] {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s: %s of %s were lost since %s, none passed", describeBlocked(&b), group(b.Packets), group(b.Packets), w.clock(b.First)))
	}
	f.Evidence = append(f.Evidence, w.changes(f)...)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}

// explain makes findings of packets lost of one cause, one for each stage. Of some it is not known where they were lost, as
// a neighbour's queue outlives the journeys, or a hook on their way was missed: they were lost where other packets of the pair were.
func (w *window) explain(lost []aggregate.DropCount, rule func(aggregate.StageKey, []aggregate.DropCount) lossRule) []Finding {
	var found []Finding
	stages := byStage(lost)
	for i := range stages {
		s := &stages[i]
		if i > 0 && (s.at.Stage == journey.Unknown || w.beforeMissedHook(s, &stages[0])) && w.samePairs(stages[0].lost, s.lost) {
			stages[0].lost = append(stages[0].lost, s.lost...)
			s.lost = nil
		}
	}
	for _, s := range stages {
		if len(s.lost) == 0 {
			continue
		}
		r := rule(s.at, s.lost)
		if f := r.finding(w, s.at, s.lost); f != nil {
			found = append(found, *f)
		}
	}
	return found
}

// explainOnce makes one finding of packets lost of one cause, at whatever stages: at the one that lost most.
func (w *window) explainOnce(lost []aggregate.DropCount, rule func(aggregate.StageKey, []aggregate.DropCount) lossRule) []Finding {
	stages := byStage(lost)
	if len(stages) == 0 {
		return nil
	}
	at := stages[0].at
	r := rule(at, lost)
	if f := r.finding(w, at, lost); f != nil {
		return []Finding{*f}
	}
	return nil
}

// beforeMissedHook tells whether what seems to be lost in forwarding was lost in the pod, as most was: the hook at the pod's device
// is missed now and then, and no rule of this node's has done it.
func (w *window) beforeMissedHook(some, most *stageLosses) bool {
	if some.at.Stage != journey.Forward || !isInPod(most.at.Device) || 5*packetsOf(some.lost) > packetsOf(most.lost) {
		return false
	}
	b := w.blameAt(some.at, w.hits(some.lost))
	return b.set != nil && len(b.rules) == 0 && b.set.Unread == ""
}

// stageLosses is what was lost in one stage.
type stageLosses struct {
	at   aggregate.StageKey
	lost []aggregate.DropCount
}

// byStage groups losses by stage: those of a known one first, and of them that with the most.
func byStage(lost []aggregate.DropCount) []stageLosses {
	var stages []stageLosses
	for _, d := range lost {
		i := slices.IndexFunc(stages, func(s stageLosses) bool { return s.at == d.StageKey })
		if i < 0 {
			i = len(stages)
			stages = append(stages, stageLosses{at: d.StageKey})
		}
		stages[i].lost = append(stages[i].lost, d)
	}
	unknown := func(s stageLosses) int {
		if s.at.Stage == journey.Unknown {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(stages, func(x, y stageLosses) int {
		return cmp.Or(cmp.Compare(unknown(x), unknown(y)), cmp.Compare(packetsOf(y.lost), packetsOf(x.lost)))
	})
	return stages
}

func packetsOf(lost []aggregate.DropCount) uint64 {
	var n uint64
	for _, d := range lost {
		n += d.Packets
	}
	return n
}

// mainReason is the one of most packets.
func mainReason(lost []aggregate.DropCount) string {
	by := make(map[string]uint64)
	most := ""
	for _, d := range lost {
		by[d.Reason] += d.Packets
		if by[d.Reason] > by[most] {
			most = d.Reason
		}
	}
	return most
}

// reasons are what losses were counted under, the most frequent first.
func reasons(lost []aggregate.DropCount) []string {
	sorted := slices.Clone(lost)
	slices.SortStableFunc(sorted, func(x, y aggregate.DropCount) int { return cmp.Compare(y.Packets, x.Packets) })
	var all []string
	for _, d := range sorted {
		text := d.Reason
		if d.Location != "" {
			text += " at " + d.Location
		}
		if !slices.Contains(all, text) && len(all) < 3 {
			all = append(all, text)
		}
	}
	return all
}

// locate says where on its way a packet was.
func locate(at aggregate.StageKey) string {
	device := at.Device
	if device == netdev.PodLabel {
		device = "a pod's device"
	}
	switch {
	case at.Stage == journey.PodQueue:
		return "in the pod, on their way out of it"
	case at.Stage == journey.Deliver && isInPod(device):
		return "in the pod, on their way to its socket"
	case at.Stage == journey.Unknown && device == "":
		return "where no hook had seen them"
	case at.Stage == journey.Unknown:
		return "at " + device
	case at.Stage == journey.Forward:
		return "after " + device + ", in routing or netfilter"
	case at.Stage == journey.Deliver:
		return "between " + device + " and the socket"
	case at.Stage == journey.Encap:
		return "while " + device + " wrapped them"
	case at.Stage == journey.Decap:
		return "while " + device + " unwrapped them"
	}
	return fmt.Sprintf("in %s of %s", at.Stage, device)
}

// listed names the first pair and how many there are beside it.
func listed(pairs []Pair, total int) string {
	if len(pairs) == 0 {
		return "the packets"
	}
	text := pairs[0].Src + " → " + pairs[0].Dst
	if pairs[0].Service != nil && strings.HasSuffix(pairs[0].Dst, aggregate.UnknownWorkload) {
		text = pairs[0].Src + " → service " + *pairs[0].Service
	}
	if total > 1 {
		text += " and " + plural(uint64(total-1), "more pair")
	}
	return text
}
