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

// sameEndpoints is a number for each pair, the same for those with the same endpoints.
func (w *window) sameEndpoints() []int {
	if w.ends == nil {
		w.ends = make([]int, len(w.counts.Pairs))
		number := make(map[endpoints]int, len(w.counts.Pairs))
		for i := range w.counts.Pairs {
			e := endpointsOf(&w.counts.Pairs[i])
			if _, ok := number[e]; !ok {
				number[e] = len(number)
			}
			w.ends[i] = number[e]
		}
	}
	return w.ends
}

// lossShare is which share of what was lost in one way is among some losses.
type lossShare struct {
	key   aggregate.DropKey
	share float64
}

// sharesOf are the shares of all ways in which something was lost: a handful, so they are a list.
func (w *window) sharesOf(lost []aggregate.DropCount) (shares []lossShare) {
	for _, d := range lost {
		i := slices.IndexFunc(shares, func(s lossShare) bool { return s.key == d.DropKey })
		if i < 0 {
			i = len(shares)
			shares = append(shares, lossShare{key: d.DropKey})
		}
		shares[i].share += float64(d.Packets)
	}
	for i := range shares {
		all := 0.0
		for j := range w.counts.Drops {
			if d := &w.counts.Drops[j]; d.DropKey == shares[i].key {
				all += float64(d.Packets)
			}
		}
		if all > 0 {
			shares[i].share /= all
		}
	}
	return shares
}

// hits are the pairs that the losses hit, those that lost most first. Where only a part of a count is among the losses, so is
// each pair's.
func (w *window) hits(lost []aggregate.DropCount) []hit {
	shares := w.sharesOf(lost)
	ends := w.sameEndpoints()
	at := make(map[int]int) // where in out a pair's endpoints are
	var out []hit
	var part []float64
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		for j := range p.Drops {
			d := &p.Drops[j]
			of := slices.IndexFunc(shares, func(s lossShare) bool { return s.key == d.DropKey })
			if of < 0 {
				continue
			}
			k, ok := at[ends[i]]
			if !ok {
				k = len(out)
				at[ends[i]] = k
				out, part = append(out, hit{Pair: p}), append(part, 0)
			}
			part[k] += shares[of].share * float64(d.Packets)
			out[k].lost = uint64(math.Round(part[k]))
		}
	}
	if len(out) == 0 {
		return nil
	}
	for i := range w.counts.Pairs {
		k, ok := at[ends[i]]
		if !ok {
			continue
		}
		h, p := &out[k], &w.counts.Pairs[i]
		h.passed += p.Passed()
		if h.DstWorkload == aggregate.UnknownWorkload && p.DstWorkload != aggregate.UnknownWorkload {
			h.Pair = p // the same by a name that says more
		}
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
