package diagnose

import (
	"fmt"
	"slices"
)

// joinSame makes one of findings with one cause and the same commands to go on with, though they are at several places: they are
// one thing to do. The first, which hurts most, stands for all; the others are told in its evidence.
func joinSame(findings []Finding) []Finding {
	out := []Finding{}
	for _, f := range findings {
		at := slices.IndexFunc(out, func(o Finding) bool {
			return o.Cause == f.Cause && o.Kind == f.Kind && (o.Severity == Info) == (f.Severity == Info) && len(f.Next) > 0 && slices.Equal(o.Next, f.Next)
		})
		if at < 0 {
			out = append(out, f)
			continue
		}
		out[at].join(&f)
	}
	return out
}

// join adds another finding of the same thing.
func (f *Finding) join(other *Finding) {
	f.pain += other.pain
	f.Evidence = append(f.Evidence, fmt.Sprintf("the same at another place (%s, %s): %s", other.where(), other.Severity, other.predicate))
	if len(other.Evidence) > 0 {
		f.Evidence = append(f.Evidence, other.Evidence[0])
	}
	if f.Drops != nil && other.Drops != nil {
		drops := *f.Drops
		drops.Packets += other.Drops.Packets
		f.Drops = &drops
	}
	f.addPairs(other.Pairs)
}

// addPairs adds pairs to those that are hurt, and names them as far as there is room.
func (f *Finding) addPairs(pairs []Pair) {
	for _, p := range pairs {
		if !slices.ContainsFunc(f.Pairs, func(q Pair) bool { return q.Src == p.Src && q.Dst == p.Dst }) {
			f.PairsTotal++
			if len(f.Pairs) < maxPairs {
				f.Pairs = append(f.Pairs, p)
			}
		}
	}
}
