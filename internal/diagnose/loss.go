package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
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

// takeSome removes and returns at most n packets of those that match: a count of which only a part is explained stays
// with the rest.
func (l *losses) takeSome(n uint64, match func(*aggregate.DropCount) bool) []aggregate.DropCount {
	var taken []aggregate.DropCount
	for i := range *l {
		if d := &(*l)[i]; n > 0 && match(d) {
			part := *d
			part.Packets = min(n, d.Packets)
			d.Packets -= part.Packets
			n -= part.Packets
			taken = append(taken, part)
		}
	}
	*l = slices.DeleteFunc(*l, func(d aggregate.DropCount) bool { return d.Packets == 0 })
	return taken
}

// lossCause says of packets that were lost elsewhere than in a queue what makes a finding of them.
type lossCause struct {
	cause   Cause
	subject string // of the summary's sentence
	// Shares of the packets of the pairs that it hits, and how many packets it takes to be critical.
	warning, critical float64
	least             uint64
	// certainty is how surely the kernel's reason, or the place where it gives none, means this cause.
	certainty float64
	evidence  []string
	next      []string
}

// strays is how many packets of a pair that loses all of them are still no alarm, as long as nothing of it came through
// in the window: a client that tries what a policy forbids, or a pod that has gone, sends some SYNs in vain.
const strays = 10

// find makes a finding of packets lost at one place, unless they are too few.
func (c *lossCause) find(w *window, at aggregate.StageKey, lost []aggregate.DropCount) *Finding {
	total := packetsOf(lost)
	hits := w.hits(lost)
	hurt, passed, tried := uint64(0), uint64(0), uint64(0) // of the pairs that count
	pain := 0.0
	for _, h := range hits {
		if !h.ours() {
			continue
		}
		hurt += h.lost
		pain += float64(h.lost) * w.rto(h.Pair)
		passed += h.passed
		if h.passed == 0 {
			tried += h.lost
		}
	}
	hurt = min(hurt, total)
	ratio := float64(hurt) / float64(max(1, hurt+passed))
	if hurt < minSamples || ratio < c.warning {
		return nil
	}
	f := &Finding{
		Kind: KindDrop, Cause: c.cause, Severity: Warning,
		Stage: at.Stage, Device: at.Device, Direction: at.Direction,
		Drops: &Drops{Packets: total, Ratio: &ratio, Reason: reasonOf(lost)},
		Next:  c.next,
		pain:  pain / w.seconds(),
	}
	if ratio >= c.critical && hurt >= max(c.least, minCritical) && (hurt > tried || hurt > strays) {
		f.Severity = Critical
	}
	pairs := make([]pairQueue, len(hits))
	for i, h := range hits {
		pairs[i] = pairQueue{Pair: h.Pair}
	}
	f.Pairs, f.PairsTotal = names(pairs, nil, nil)
	f.subject, f.claim = c.subject, "loses "+percent(ratio)+" of "+listed(f.Pairs, f.PairsTotal)
	f.Confidence = confidence(float64(hurt), c.certainty, w.counts)
	f.Evidence = append([]string{fmt.Sprintf("%s of %s of these pairs were lost %s (%s)",
		group(hurt), packets(hurt+passed), place(at), strings.Join(reasons(lost), ", "))}, c.evidence...)
	f.Evidence = append(f.Evidence, w.changes(f)...)
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	return f
}

// explain makes findings of packets lost of one cause, one for each place. Some of a pair's packets may have been lost
// without a trace of where, as a neighbour's queue outlives the journeys: they are where the pair's others were.
func (w *window) explain(lost []aggregate.DropCount, cause func(aggregate.StageKey, []aggregate.DropCount) lossCause) []Finding {
	var found []Finding
	places := placesOf(lost)
	for i := range places {
		p := &places[i]
		if p.at.Stage == journey.Unknown && i > 0 && w.samePairs(places[0].lost, p.lost) {
			places[0].lost = append(places[0].lost, p.lost...)
			p.lost = nil
		}
	}
	for _, p := range places {
		if len(p.lost) == 0 {
			continue
		}
		c := cause(p.at, p.lost)
		if f := c.find(w, p.at, p.lost); f != nil {
			found = append(found, *f)
		}
	}
	return found
}

// lossPlace is what was lost at one place.
type lossPlace struct {
	at   aggregate.StageKey
	lost []aggregate.DropCount
}

// placesOf are the places of losses: those of a known stage first, and of them that with the most.
func placesOf(lost []aggregate.DropCount) []lossPlace {
	var places []lossPlace
	for _, d := range lost {
		i := slices.IndexFunc(places, func(p lossPlace) bool { return p.at == d.StageKey })
		if i < 0 {
			i = len(places)
			places = append(places, lossPlace{at: d.StageKey})
		}
		places[i].lost = append(places[i].lost, d)
	}
	unknown := func(p lossPlace) int {
		if p.at.Stage == journey.Unknown {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(places, func(x, y lossPlace) int {
		return cmp.Or(cmp.Compare(unknown(x), unknown(y)), cmp.Compare(packetsOf(y.lost), packetsOf(x.lost)))
	})
	return places
}

// samePairs tells whether all pairs that lost some packets are among those that lost others.
func (w *window) samePairs(others, some []aggregate.DropCount) bool {
	known := make(map[ends]bool)
	for _, h := range w.hits(others) {
		known[h.ends()] = true
	}
	return !slices.ContainsFunc(w.hits(some), func(h hit) bool { return !known[h.ends()] })
}

// hit is a pair that lost packets, and how many of it came through, in whatever direction this node sees it.
type hit struct {
	*aggregate.Pair
	lost, passed uint64
}

// ends are who sends and who is meant. Packets to a Service that were lost before one of its pods was chosen are the
// Service's, as are those of it that came through.
type ends struct {
	namespace, workload string
	toNamespace, to     string
}

func (h *hit) ends() ends { return endsOf(h.Pair) }

func endsOf(p *aggregate.Pair) ends {
	e := ends{p.SrcNamespace, p.SrcWorkload, p.DstNamespace, p.DstWorkload}
	if p.Service != "" {
		e.toNamespace, e.to = "service", p.Service
	}
	return e
}

// hits are the pairs that the losses hit, those that lost most first.
func (w *window) hits(lost []aggregate.DropCount) []hit {
	keys := make(map[aggregate.DropKey]bool, len(lost))
	for _, d := range lost {
		keys[d.DropKey] = true
	}
	found := make(map[ends]*hit)
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		for _, d := range p.Drops {
			if !keys[d.DropKey] {
				continue
			}
			h := found[endsOf(p)]
			if h == nil {
				h = &hit{Pair: p}
				found[endsOf(p)] = h
			}
			h.lost += d.Packets
		}
	}
	if len(found) == 0 {
		return nil
	}
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if h := found[endsOf(p)]; h != nil {
			h.passed += p.Path.Count()
			if h.DstWorkload == aggregate.UnknownWorkload && p.DstWorkload != aggregate.UnknownWorkload {
				h.Pair = p // the same by a name that says more
			}
		}
	}
	out := make([]hit, 0, len(found))
	for _, h := range found {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(x, y hit) int {
		return cmp.Or(cmp.Compare(y.lost, x.lost), cmp.Compare(x.SrcNamespace, y.SrcNamespace), cmp.Compare(x.SrcWorkload, y.SrcWorkload),
			cmp.Compare(x.DstNamespace, y.DstNamespace), cmp.Compare(x.DstWorkload, y.DstWorkload))
	})
	return out
}

// ours tells whether a pod is at an end of the pair, or may be: what the world sends to a node's closed ports, and the
// node's own affairs, are no pods' pain.
func (h *hit) ours() bool {
	pod := func(namespace string) bool { return namespace != "" }
	node := func(workload string) bool {
		return workload == aggregate.NodeWorkload || workload == aggregate.ExternalWorkload
	}
	return pod(h.SrcNamespace) || pod(h.DstNamespace) || !node(h.SrcWorkload) && !node(h.DstWorkload)
}

func packetsOf(lost []aggregate.DropCount) uint64 {
	var n uint64
	for _, d := range lost {
		n += d.Packets
	}
	return n
}

// reasonOf is the most frequent reason.
func reasonOf(lost []aggregate.DropCount) string {
	return slices.MaxFunc(lost, func(x, y aggregate.DropCount) int { return cmp.Compare(x.Packets, y.Packets) }).Reason
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

// place says where on its way a packet was.
func place(at aggregate.StageKey) string {
	device := at.Device
	if device == journey.PodLabel {
		device = "a pod's device"
	}
	switch {
	case at.Stage == journey.Unknown && device == "":
		return "where no hook had seen them"
	case at.Stage == journey.Unknown:
		return "at " + device
	case at.Stage == journey.Forward:
		return "behind " + device + ", in forwarding"
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
