package diagnose

import (
	"cmp"
	"fmt"
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
		key, r := whoAsks(p.PairKey), p.Requests
		if other := asked[key]; other != nil { // of another direction
			r = &aggregate.Requests{}
			r.Merge(other)
			r.Merge(p.Requests)
		}
		asked[key] = r
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

// answeredAlone is how many requests were answered and connections opened in the window, where all had an answer; else 0. It speaks for
// a window in which no packet was seen. Those that wait do not.
func (w *window) answeredAlone() (answered uint64) {
	for _, r := range w.requests {
		if unansweredOf(r) > 0 {
			return 0
		}
		answered += max(r.Client.Count(), r.Server.Count())
	}
	return answered
}

// unansweredOf is how many of a pair's requests had no answer, as the side counts them that saw more of them.
func unansweredOf(r *aggregate.Requests) uint64 { return max(r.Client.Unanswered, r.Server.Unanswered) }

// sayUnanswered says how many requests had no answer in the window, and whose most of them are; "" if all had.
func (w *window) sayUnanswered() string {
	var all uint64
	var pairs []aggregate.PairKey
	for key, r := range w.requests {
		if n := unansweredOf(r); n > 0 {
			all, pairs = all+n, append(pairs, key)
		}
	}
	if all == 0 {
		return ""
	}
	most := slices.MinFunc(pairs, func(x, y aggregate.PairKey) int {
		return cmp.Or(cmp.Compare(unansweredOf(w.requests[y]), unansweredOf(w.requests[x])), x.Compare(y))
	})
	whose := ""
	if len(pairs) > 1 {
		whose = "most: "
	}
	return fmt.Sprintf("%s waited for a minute or %s given up (%s%s → %s)", plural(all, "request"), verb(all, "was", "were"), whose,
		qualified(most.SrcNamespace, most.SrcWorkload), qualified(most.DstNamespace, most.DstWorkload))
}
