package export

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tracer/internal/aggregate"
)

// otherName takes the pairs that have no series of their own.
var otherName = pairName{srcWorkload: aggregate.OtherWorkload, dstWorkload: aggregate.OtherWorkload}

const (
	// halfLife is after what time a pair's rank counts half.
	halfLife = 10 * time.Minute
	// stays is how much a pair with series of its own is preferred, so that two do not take turns.
	stays = 2
)

// pairLayer decides which pairs have series of their own, and keeps counters that never go down while that changes:
// what a pair did while it had none is in _other, and stays there.
type pairLayer struct {
	maxSeries int // samples of the text format
	classic   bool

	last     *aggregate.Snapshot // pairs alone
	groups   map[pairName]*group
	other    *tally
	overflow uint64
}

// group is the pairs of one name, one for each direction.
type group struct {
	name  pairName
	pairs []*aggregate.Pair // as they are now
	grown []*aggregate.Pair // what they have had since the last time
	busy  float64           // packets, the older the less
	hurt  float64           // seconds, likewise
	own   *tally            // its series; nil if it has none
	// merged tells that it is counted in _other. A new group is in neither.
	merged bool
}

func newPairLayer(maxSeries int, classic bool) *pairLayer {
	return &pairLayer{maxSeries: maxSeries, classic: classic, groups: make(map[pairName]*group), other: newTally()}
}

// metrics appends those of the pairs in a snapshot, which is later than the one before.
func (l *pairLayer) metrics(to []prometheus.Metric, s *aggregate.Snapshot) []prometheus.Metric {
	l.update(s)
	l.assign(l.choose(s))
	series := pairSeries{
		packets: pairPackets.empty(), bytes: pairBytes.empty(), drops: pairDrops.empty(), retransmits: pairRetransmits.empty(), classic: l.classic,
	}
	room := l.maxSeries
	for _, g := range l.groups {
		if g.own != nil {
			series.add(g.name, g.own)
			room -= g.own.samples(l.histogram())
		}
	}
	switch {
	case l.other.empty():
	case l.other.samples(l.histogram()) <= room:
		series.add(otherName, l.other)
	case brief <= room:
		series.addBrief(otherName, l.other)
	}
	return series.metrics(to)
}

// histogram is how many samples one makes.
func (l *pairLayer) histogram() int {
	if l.classic {
		return classicSamples
	}
	return nativeSamples
}

// update takes a snapshot: who is there, and who did how much since the last one.
func (l *pairLayer) update(s *aggregate.Snapshot) {
	now := &aggregate.Snapshot{Taken: s.Taken, Window: s.Window, Pairs: s.Pairs}
	window := now.Since(l.last)
	l.last = now

	decay := math.Exp2(-window.Window.Seconds() / halfLife.Seconds())
	for _, g := range l.groups {
		g.pairs, g.grown = nil, nil
		g.busy *= decay
		g.hurt *= decay
	}
	for i := range s.Pairs {
		p := &s.Pairs[i]
		name := nameOf(&p.PairKey)
		if name == otherName {
			continue
		}
		g := l.groups[name]
		if g == nil {
			g = &group{name: name}
			l.groups[name] = g
		}
		g.pairs = append(g.pairs, p)
	}
	maps.DeleteFunc(l.groups, func(_ pairName, g *group) bool { return len(g.pairs) == 0 })

	for i := range window.Pairs {
		p := &window.Pairs[i]
		g := l.groups[nameOf(&p.PairKey)]
		if g == nil { // the aggregator's own _other
			l.other.add(p)
			continue
		}
		g.grown = append(g.grown, p)
		if g.own != nil {
			g.own.add(p)
		}
		g.busy += p.Packets
		g.hurt += p.Path.Sum()
		for j := range p.Drops {
			if d := &p.Drops[j]; d.Loss {
				g.hurt += p.RTO(nil) * float64(d.Packets)
			}
		}
	}
}

// choose returns the groups to have series of their own: all, if they fit; else the busiest and the worst in turn.
func (l *pairLayer) choose(s *aggregate.Snapshot) map[*group]bool {
	chosen := make(map[*group]bool, len(l.groups))
	need := 0
	for _, g := range l.groups {
		need += l.samples(g)
		chosen[g] = true
	}
	if !l.other.empty() {
		need += l.other.samples(l.histogram())
	}
	if need <= l.maxSeries {
		return chosen
	}

	clear(chosen)
	reserve := l.otherSamples(s)
	if reserve > l.maxSeries/2 {
		reserve = brief // with so little room pairs that have names come first
	}
	room := l.maxSeries - reserve
	busiest := slices.SortedFunc(maps.Values(l.groups), func(x, y *group) int {
		return cmp.Or(cmp.Compare(y.rank(y.busy), x.rank(x.busy)), compareNames(x.name, y.name))
	})
	worst := slices.SortedFunc(maps.Values(l.groups), func(x, y *group) int {
		return cmp.Or(cmp.Compare(y.rank(y.hurt), x.rank(x.hurt)), compareNames(x.name, y.name))
	})
	for i := range busiest {
		for _, g := range []*group{worst[i], busiest[i]} {
			if n := l.samples(g); !chosen[g] && n <= room {
				chosen[g] = true
				room -= n
			}
		}
	}
	return chosen
}

func (g *group) rank(score float64) float64 {
	if g.own != nil {
		return stays * score
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
func (l *pairLayer) samples(g *group) int {
	if g.own != nil {
		return g.own.samples(l.histogram())
	}
	n := brief
	for _, p := range g.pairs {
		n += len(p.Drops) + l.histogram()*(1+len(p.Stages))
		if p.TCP != nil {
			n += 1 + l.histogram()
		}
	}
	return n
}

// otherSamples is the most that _other makes: no pair has a stage that all together have not.
func (l *pairLayer) otherSamples(s *aggregate.Snapshot) int {
	const directions = 3 // out, in, local
	reasons := make(map[string]bool)
	for i := range s.Drops {
		if s.Drops[i].Loss {
			reasons[s.Drops[i].Reason] = true
		}
	}
	n := brief + len(reasons) + l.histogram()*(len(s.Stages)+directions)
	if slices.ContainsFunc(s.Pairs, func(p aggregate.Pair) bool { return p.TCP != nil }) {
		n += 1 + l.histogram()
	}
	return n
}

// assign moves each group to where it belongs from now on. What it had before stays where it was counted.
func (l *pairLayer) assign(chosen map[*group]bool) {
	for _, g := range l.groups {
		switch {
		case !chosen[g]:
			if g.own != nil || !g.merged {
				l.overflow++
			}
			g.own, g.merged = nil, true
			for _, p := range g.grown {
				l.other.add(p)
			}
		case g.own == nil:
			g.own, g.merged = newTally(), false
			for _, p := range g.pairs {
				g.own.add(p)
			}
		}
	}
}
