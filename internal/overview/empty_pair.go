package overview

import (
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// withoutEmptyPairs is a window in which pairs without a packet are part of the one between the same workloads that has
// some: what TCP says of a connection, and a drop inside a pod, do not tell which way the packets go on this node. A pair all
// of whose packets are lost stays, unless the other is of pods of this node. What was lost on its way to a Service before one of its
// pods was chosen is part of the pair to the only pod's workload that answers for the Service.
func withoutEmptyPairs(window *aggregate.Snapshot) *aggregate.Snapshot {
	with := make(map[aggregate.PairKey]int) // by names, the pair that has packets; of several that of this node's pods
	backends := make(map[toService][]int)
	var empty []int
	for i := range window.Pairs {
		p := &window.Pairs[i]
		if p.Packets == 0 && p.Passed() == 0 {
			empty = append(empty, i)
		} else if _, known := with[names(p)]; !known || p.Direction == journey.Local {
			with[names(p)] = i
		}
		if p.Service != "" && p.Packets > 0 {
			backends[toServiceOf(p)] = append(backends[toServiceOf(p)], i)
		}
	}
	if len(empty) == 0 {
		return window
	}
	w := *window
	w.Pairs = slices.Clone(window.Pairs)
	gone := make(map[int]bool, len(empty))
	merge := func(i, to int) {
		sum := aggregate.Pair{PairKey: w.Pairs[to].PairKey, Service: w.Pairs[to].Service, EndpointOf: w.Pairs[to].EndpointOf}
		add(&sum, &w.Pairs[to])
		add(&sum, &w.Pairs[i])
		w.Pairs[to], gone[i] = sum, true
	}
	for _, i := range empty {
		p := &w.Pairs[i]
		to, known := with[names(p)]
		switch backends := backends[toServiceOf(p)]; {
		case p.DstWorkload == aggregate.UnknownWorkload && len(backends) == 1:
			merge(i, backends[0])
		case known && (len(p.Drops) == 0 || w.Pairs[to].Direction == journey.Local):
			merge(i, to)
		case !known && len(p.Drops) == 0 && p.TCP == nil && p.Requests == nil:
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

// toService is who sends to a Service, and which way.
type toService struct {
	namespace, workload, service string
	direction                    journey.Direction
}

func toServiceOf(p *aggregate.Pair) toService {
	return toService{p.SrcNamespace, p.SrcWorkload, p.Service, p.Direction}
}

// names are who talks to whom, whatever way the packets go.
func names(p *aggregate.Pair) aggregate.PairKey {
	key := p.PairKey
	key.Direction = ""
	return key
}
