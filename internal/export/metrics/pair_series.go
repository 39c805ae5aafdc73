package metrics

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"tracer/internal/aggregate"
)

var seriesOverflow = counter("tracer_series_overflow_total",
	"Times that a pair was merged into _other, as there were too many series.")

// otherName takes the pairs that have no series of their own.
var otherName = pairName{srcWorkload: aggregate.OtherWorkload, dstWorkload: aggregate.OtherWorkload}

const (
	// halfLife is after what time a packet, or a second of delay, counts half in a pair's rank.
	halfLife = 10 * time.Minute
	// ownBonus is how much a pair with series of its own is preferred, so that two do not take turns.
	ownBonus = 2
)

// pairSeries decides which pairs have series of their own, and keeps counters that never go down while that changes:
// what a pair did while it had none is in _other, and stays there.
type pairSeries struct {
	maxSeries int // samples of the text format
	classic   bool

	last     *aggregate.Snapshot // pairs alone
	groups   map[pairName]*pairGroup
	other    *pairAccumulator
	overflow uint64
}

// pairGroup is the pairs of one name, one for each direction.
type pairGroup struct {
	name    pairName
	pairs   []*aggregate.Pair // since the start
	window  []*aggregate.Pair // since the last scrape
	packets float64           // decays with halfLife
	pain    float64           // seconds, without a baseline: all delay is excess; decays likewise
	own     *pairAccumulator  // its series; nil if it has none
	// merged tells that it is counted in _other. A new group is in neither.
	merged bool
}

func newPairSeries(maxSeries int, classic bool) *pairSeries {
	return &pairSeries{maxSeries: maxSeries, classic: classic, groups: make(map[pairName]*pairGroup), other: newPairAccumulator()}
}

// subject is the metrics by pair.
func (s *pairSeries) subject() subject {
	return subject{
		families: []*metricFamily{
			pairPackets, pairBytes, pairDrops, pairRetransmits, pairRTT, pairRequests, pairConnects, pairUnanswered, pathDelay, pairStageDelay, seriesOverflow,
		},
		collect: func(from *input, to *scrape) {
			s.collect(from.snapshot, to)
			to.add(seriesOverflow, float64(s.overflow))
		},
	}
}

// collect adds the metrics of the pairs in a snapshot, which is later than the one before.
func (s *pairSeries) collect(snapshot *aggregate.Snapshot, to *scrape) {
	s.update(snapshot)
	s.assign(s.choose(snapshot))
	room := s.maxSeries
	for _, g := range s.groups {
		if g.own != nil {
			g.own.collect(to, g.name, s.classic)
			room -= g.own.samples(s.perHistogram())
		}
	}
	switch {
	case s.other.empty():
	case s.other.samples(s.perHistogram()) <= room:
		s.other.collect(to, otherName, s.classic)
	case trafficSamples <= room:
		s.other.collectTraffic(to, otherName)
	}
}

// perHistogram is how many samples a histogram makes.
func (s *pairSeries) perHistogram() int {
	if s.classic {
		return classicSamples
	}
	return nativeSamples
}

// update takes a snapshot: who is there, and who did how much since the last one.
func (s *pairSeries) update(snapshot *aggregate.Snapshot) {
	now := &aggregate.Snapshot{Taken: snapshot.Taken, Window: snapshot.Window, Pairs: snapshot.Pairs}
	window := now.Since(s.last)
	s.last = now

	decay := math.Exp2(-window.Window.Seconds() / halfLife.Seconds())
	for _, g := range s.groups {
		g.pairs, g.window = nil, nil
		g.packets *= decay
		g.pain *= decay
	}
	for i := range snapshot.Pairs {
		p := &snapshot.Pairs[i]
		name := nameOf(&p.PairKey)
		if name == otherName {
			continue
		}
		g := s.groups[name]
		if g == nil {
			g = &pairGroup{name: name}
			s.groups[name] = g
		}
		g.pairs = append(g.pairs, p)
	}
	maps.DeleteFunc(s.groups, func(_ pairName, g *pairGroup) bool { return len(g.pairs) == 0 })

	for i := range window.Pairs {
		p := &window.Pairs[i]
		g := s.groups[nameOf(&p.PairKey)]
		if g == nil { // the aggregator's own _other
			s.other.add(p)
			continue
		}
		g.window = append(g.window, p)
		if g.own != nil {
			g.own.add(p)
		}
		g.packets += p.Packets
		g.pain += p.Path.Sum()
		for j := range p.Drops {
			if d := &p.Drops[j]; d.Loss {
				g.pain += p.RTO(nil) * float64(d.Packets)
			}
		}
	}
}

// choose returns the groups to have series of their own: all, if they fit; else the busiest and the worst in turn.
func (s *pairSeries) choose(snapshot *aggregate.Snapshot) map[*pairGroup]bool {
	chosen := make(map[*pairGroup]bool, len(s.groups))
	need := 0
	for _, g := range s.groups {
		need += s.samples(g)
		chosen[g] = true
	}
	if !s.other.empty() {
		need += s.other.samples(s.perHistogram())
	}
	if need <= s.maxSeries {
		return chosen
	}

	clear(chosen)
	reserve := s.otherSamples(snapshot)
	if reserve > s.maxSeries/2 {
		reserve = trafficSamples // with so little room pairs that have names come first
	}
	room := s.maxSeries - reserve
	busiest := slices.SortedFunc(maps.Values(s.groups), func(x, y *pairGroup) int {
		return cmp.Or(cmp.Compare(y.rank(y.packets), x.rank(x.packets)), compareNames(x.name, y.name))
	})
	worst := slices.SortedFunc(maps.Values(s.groups), func(x, y *pairGroup) int {
		return cmp.Or(cmp.Compare(y.rank(y.pain), x.rank(x.pain)), compareNames(x.name, y.name))
	})
	for i := range busiest {
		for _, g := range []*pairGroup{worst[i], busiest[i]} {
			if n := s.samples(g); !chosen[g] && n <= room {
				chosen[g] = true
				room -= n
			}
		}
	}
	return chosen
}

func (g *pairGroup) rank(score float64) float64 {
	if g.own != nil {
		return ownBonus * score
	}
	return score
}

func compareNames(x, y pairName) int {
	return cmp.Or(
		cmp.Compare(x.srcNamespace, y.srcNamespace),
		cmp.Compare(x.srcWorkload, y.srcWorkload),
		cmp.Compare(x.dstNamespace, y.dstNamespace),
		cmp.Compare(x.dstWorkload, y.dstWorkload),
	)
}

// samples is the most that a group makes with what it has now.
func (s *pairSeries) samples(g *pairGroup) int {
	if g.own != nil {
		return g.own.samples(s.perHistogram())
	}
	n := trafficSamples
	for _, p := range g.pairs {
		n += len(p.Drops) + s.perHistogram()*(1+len(p.Stages))
		if p.TCP != nil {
			n += 1 + s.perHistogram()
		}
		if p.Requests != nil {
			n += requestSamples(s.perHistogram())
		}
	}
	return n
}

// otherSamples is the most that _other makes: no pair has a stage that all together have not.
func (s *pairSeries) otherSamples(snapshot *aggregate.Snapshot) int {
	const directions = 3 // out, in, local
	reasons := make(map[string]bool)
	for i := range snapshot.Drops {
		if snapshot.Drops[i].Loss {
			reasons[snapshot.Drops[i].Reason] = true
		}
	}
	n := trafficSamples + len(reasons) + s.perHistogram()*(len(snapshot.Stages)+directions)
	if slices.ContainsFunc(snapshot.Pairs, func(p aggregate.Pair) bool { return p.TCP != nil }) {
		n += 1 + s.perHistogram()
	}
	if slices.ContainsFunc(snapshot.Pairs, func(p aggregate.Pair) bool { return p.Requests != nil }) {
		n += requestSamples(s.perHistogram())
	}
	return n
}

// assign moves each group to where it belongs from now on. What it had before stays where it was counted.
func (s *pairSeries) assign(chosen map[*pairGroup]bool) {
	for _, g := range s.groups {
		switch {
		case !chosen[g]:
			if g.own != nil || !g.merged {
				s.overflow++
			}
			g.own, g.merged = nil, true
			for _, p := range g.window {
				s.other.add(p)
			}
		case g.own == nil:
			g.own, g.merged = newPairAccumulator(), false
			for _, p := range g.pairs {
				g.own.add(p)
			}
		}
	}
}
