package overview

import (
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// withoutEmptyPairs is a window in which pairs without a packet are part of the one between the same workloads that has
// some: what TCP says of a connection, and a drop inside a pod, do not tell which way the packets go on this node. A pair all
// of whose packets are lost stays, unless the other is of pods of this node.
func withoutEmptyPairs(window *aggregate.Snapshot) *aggregate.Snapshot {
	with := make(map[aggregate.PairKey]int) // by names, the pair that has packets; of several that of this node's pods
	var empty []int
	for i := range window.Pairs {
		p := &window.Pairs[i]
		if p.Packets == 0 && p.Passed() == 0 {
			empty = append(empty, i)
		} else if _, known := with[names(p)]; !known || p.Direction == journey.Local {
			with[names(p)] = i
		}
	}
	if len(empty) == 0 {
		return window
	}
	w := *window
	w.Pairs = slices.Clone(window.Pairs)
	gone := make(map[int]bool, len(empty))
	for _, i := range empty {
		p := &w.Pairs[i]
		to, known := with[names(p)]
		switch {
		case known && (len(p.Drops) == 0 || w.Pairs[to].Direction == journey.Local):
			sum := aggregate.Pair{PairKey: w.Pairs[to].PairKey, Service: w.Pairs[to].Service}
			add(&sum, &w.Pairs[to])
			add(&sum, p)
			w.Pairs[to] = sum
			gone[i] = true
		case !known && len(p.Drops) == 0 && p.TCP == nil:
			gone[i] = true // nothing to show
		}
	}
	kept := w.Pairs[:0]
	for i := range w.Pairs {
		if !gone[i] {
			kept = append(kept, w.Pairs[i])
		}
	}
	w.Pairs = kept
	return &w
}

// names are who talks to whom, whatever way the packets go.
func names(p *aggregate.Pair) aggregate.PairKey {
	key := p.PairKey
	key.Direction = ""
	return key
}
