package diagnose

import (
	"cmp"
	"math"
	"slices"

	"tracer/internal/aggregate"
)

// hit is a pair that lost packets, and how many of it came through, in whatever direction this node sees it.
type hit struct {
	*aggregate.Pair
	lost, passed uint64
}

// endpoints are who sends and who is to receive. Packets to a Service that were lost before one of its pods was chosen are
// the Service's, as are those of it that came through.
type endpoints struct {
	namespace, workload string
	toNamespace, to     string
}

func endpointsOf(p *aggregate.Pair) endpoints {
	e := endpoints{p.SrcNamespace, p.SrcWorkload, p.DstNamespace, p.DstWorkload}
	if p.Service != "" {
		e.toNamespace, e.to = "service", p.Service
	}
	return e
}

// hits are the pairs that the losses hit, those that lost most first. Where only a part of a count is among the losses, so is
// each pair's.
func (w *window) hits(lost []aggregate.DropCount) []hit {
	share := make(map[aggregate.DropKey]float64, len(lost))
	for _, d := range lost {
		share[d.DropKey] += float64(d.Packets)
	}
	all := make(map[aggregate.DropKey]float64, len(lost))
	for i := range w.counts.Drops {
		if d := &w.counts.Drops[i]; share[d.DropKey] > 0 {
			all[d.DropKey] += float64(d.Packets)
		}
	}
	for key, n := range all {
		share[key] /= n
	}
	found := make(map[endpoints]*hit)
	part := make(map[endpoints]float64)
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		for _, d := range p.Drops {
			if share[d.DropKey] == 0 {
				continue
			}
			e := endpointsOf(p)
			if found[e] == nil {
				found[e] = &hit{Pair: p}
			}
			part[e] += share[d.DropKey] * float64(d.Packets)
			found[e].lost = uint64(math.Round(part[e]))
		}
	}
	if len(found) == 0 {
		return nil
	}
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if h := found[endpointsOf(p)]; h != nil {
			h.passed += p.Passed()
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

// involvesPod tells whether a pod is at an end of the pair, or may be: what the world sends to a node's closed ports, and
// the node's own traffic, hurt no pod.
func (h *hit) involvesPod() bool { return involvesPod(&h.PairKey) }

func involvesPod(k *aggregate.PairKey) bool {
	pod := func(namespace string) bool { return namespace != "" }
	node := func(workload string) bool {
		return workload == aggregate.NodeWorkload || workload == aggregate.ExternalWorkload
	}
	return pod(k.SrcNamespace) || pod(k.DstNamespace) || !node(k.SrcWorkload) && !node(k.DstWorkload)
}

// receiverOf is the workload to which most of the packets went that were lost.
func (w *window) receiverOf(lost []aggregate.DropCount) string {
	if hits := w.hits(lost); len(hits) > 0 {
		return qualified(hits[0].DstNamespace, hits[0].DstWorkload)
	}
	return "there"
}

// hitNames lists the pairs by name, and how many there are.
func hitNames(hits []hit) ([]Pair, int) {
	pairs := make([]*aggregate.Pair, len(hits))
	for i := range hits {
		pairs[i] = hits[i].Pair
	}
	return pairNames(pairs)
}

// samePairs tells whether all pairs that lost some packets are among those that lost others.
func (w *window) samePairs(others, some []aggregate.DropCount) bool {
	known := make(map[endpoints]bool)
	for _, h := range w.hits(others) {
		known[endpointsOf(h.Pair)] = true
	}
	return !slices.ContainsFunc(w.hits(some), func(h hit) bool { return !known[endpointsOf(h.Pair)] })
}
