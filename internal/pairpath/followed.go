package pairpath

import (
	"math"
	"slices"
)

// followed counts packets that both nodes should have followed.
type followed struct {
	packets int
	merged  int // of these, what became part of larger ones on the other node
}

// span is from the first to the last of some times.
type span struct{ first, last int64 }

func newSpan() span { return span{math.MaxInt64, math.MinInt64} }

func (s *span) add(at int64) { s.first, s.last = min(s.first, at), max(s.last, at) }

// expectation is which packets of one node the other should have followed.
type expectation struct {
	joined map[uint64]bool
	during span
	ends   map[uint32]bool // of addresses of which the other saw packets
	kept   uint64          // the greatest number that the other kept
	oneIn  uint32          // of those followed by chance, at most one in so many: the other follows no fewer; 0: it follows all
}

// of counts them. merged is what became part of larger ones, by flow.
func (e *expectation) of(all []Crossing, merged map[uint64][]Merged) (f followed) {
	for i := range all {
		c := &all[i]
		switch {
		case c.At < e.during.first || c.At > e.during.last:
		case e.joined[c.Packet]:
			f.packets++
		case c.Packet <= e.kept && e.ends[c.Ends] && c.OneIn >= e.oneIn:
			f.packets++
			if slices.ContainsFunc(merged[c.Flow], func(m Merged) bool { return c.Flow != 0 && c.Seq-m.Seq < m.Bytes }) {
				f.merged++
			}
		}
	}
	return f
}

// usualOneIn is the median n of those of some packets that were followed as one in n; 0 if nearly all were for certain: a packet also takes
// the weight of others for which there was no room.
func usualOneIn(all []Crossing) uint32 {
	var sampled []float64
	for i := range all {
		if all[i].OneIn > 0 {
			sampled = append(sampled, float64(all[i].OneIn))
		}
	}
	if 5*len(sampled) <= len(all) {
		return 0
	}
	return uint32(quantile(sampled, 0.5))
}

func endsOf(all []Crossing) map[uint32]bool {
	ends := map[uint32]bool{}
	for i := range all {
		ends[all[i].Ends] = true
	}
	return ends
}

func mergedByFlow(all []Merged) map[uint64][]Merged {
	byFlow := map[uint64][]Merged{}
	for _, m := range all {
		byFlow[m.Flow] = append(byFlow[m.Flow], m)
	}
	return byFlow
}

// greatestKept is the greatest number of the packets that were kept, of so many in all.
func greatestKept(kept []Crossing, total uint64) (greatest uint64) {
	if total <= uint64(len(kept)) {
		return math.MaxUint64
	}
	for i := range kept {
		greatest = max(greatest, kept[i].Packet)
	}
	return greatest
}
