package diagnose

import (
	"slices"

	"tracer/internal/aggregate"
)

// requestsOf takes apart what was seen of packets and of requests. Requests are timed at one end's device, whichever way their packets go, and
// long after those: a pair of which nothing but requests is known has no direction, and nothing of it was sent or lost in the window. It
// returns the window without such pairs, and the requests by who asked whom, without a direction.
func requestsOf(counts *aggregate.Snapshot) (*aggregate.Snapshot, map[aggregate.PairKey]*aggregate.Requests) {
	asked := make(map[aggregate.PairKey]*aggregate.Requests)
	requestsAlone := func(p aggregate.Pair) bool {
		return p.Requests != nil && p.Packets == 0 && len(p.Drops) == 0 && len(p.Stages) == 0 && p.TCP == nil
	}
	for i := range counts.Pairs {
		p := &counts.Pairs[i]
		if p.Requests == nil {
			continue
		}
		key := whoAsks(p.PairKey)
		if asked[key] == nil {
			asked[key] = &aggregate.Requests{}
		}
		asked[key].Merge(p.Requests)
	}
	if !slices.ContainsFunc(counts.Pairs, requestsAlone) {
		return counts, asked
	}
	seen := *counts
	seen.Pairs = slices.DeleteFunc(slices.Clone(counts.Pairs), requestsAlone)
	return &seen, asked
}

// whoAsks is a pair without its direction.
func whoAsks(key aggregate.PairKey) aggregate.PairKey {
	key.Direction = ""
	return key
}

// hasAnswered tells whether a pair's second workload has answered the first one, as the device of the pod that was asked saw it.
func (w *window) hasAnswered(key aggregate.PairKey) bool {
	r := w.requests[whoAsks(key)]
	return r != nil && r.Server.Answered.Count()+r.Server.Connects.Count() > 0
}
