package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// slowAnswer is from which p50 on, in seconds, an application's own time to answer is told.
const slowAnswer = 0.1

// requestRules find server-slow: pods of this node that take long to answer, by the time between a request and its answer at their devices.
// That is no fault of the network's, and may be as it should be: so it is never more than info.
func requestRules(w *window) []Finding {
	var slow []aggregate.Pair
	for key, r := range w.requests {
		if s := &r.Server.Answered; key.DstNamespace != "" && s.Count() >= minMeasured && s.Quantile(0.5) >= slowAnswer {
			key.Direction = journey.In
			slow = append(slow, aggregate.Pair{PairKey: key, Requests: r})
		}
	}
	if len(slow) == 0 {
		return nil
	}
	slices.SortFunc(slow, func(x, y aggregate.Pair) int {
		return cmp.Or(cmp.Compare(y.Requests.Server.Answered.Quantile(0.5), x.Requests.Server.Answered.Quantile(0.5)), cmp.Compare(qualified(x.DstNamespace, x.DstWorkload), qualified(y.DstNamespace, y.DstWorkload)),
			cmp.Compare(qualified(x.SrcNamespace, x.SrcWorkload), qualified(y.SrcNamespace, y.SrcWorkload)))
	})
	pairs := make([]*aggregate.Pair, len(slow))
	for i := range slow {
		pairs[i] = &slow[i]
	}
	server, client := &slow[0].Requests.Server.Answered, &slow[0].Requests.Client.Answered
	f := Finding{
		Kind: KindDelay, Cause: ServerSlow, Severity: Info, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: journey.In,
		Delay: &Delay{P50: new(server.Quantile(0.5)), P99: new(server.Quantile(0.99))}, Next: next(ServerSlow),
		Confidence: confidence(float64(server.Count()), 1, w.counts),
	}
	f.Pairs, f.PairsTotal = pairNames(pairs)
	f.subject = "the application " + f.Pairs[0].Dst
	f.predicate = fmt.Sprintf("takes %s (p50) to answer %s: that is its own time, not the network's", seconds(*f.Delay.P50), f.Pairs[0].Src)
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s, from the last packet of each to the first of its answer at the pod's device: %s (p50), %s (p99)",
		plural(server.Count(), "request"), f.Pairs[0].Src, seconds(*f.Delay.P50), seconds(*f.Delay.P99)))
	if client.Count() >= minSamples {
		f.Evidence = append(f.Evidence, fmt.Sprintf("at the client's pod the whole call takes %s (p50)", seconds(client.Quantile(0.5))))
	}
	f.Evidence = append(f.Evidence, w.throttled(f.Pairs)...)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return []Finding{f}
}
