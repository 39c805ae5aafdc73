package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// timing is how long packets were in one stage at one place.
type timing struct {
	delay hist.Histogram
	pairs []pairQueue
}

// slow returns the delays of the pairs that are slow beyond a p50 of limit, those with the longest sum first. If the
// stage is slow as a whole these are all pairs that it slows; if not it may still be slow for one class of packets, which
// shows in pairs with a fair number of packets that are together a fair part of all: single bursts are not.
func (t *timing) slow(limit float64) (hist.Histogram, []pairQueue) {
	whole := t.delay.Quantile(0.5) >= limit
	least := uint64(minFine)
	if whole {
		least = 1
	}
	var slow hist.Histogram
	var found []*pairQueue
	for i := range t.pairs {
		if p := &t.pairs[i]; p.delay != nil && p.delay.Count() >= least && p.delay.Quantile(0.5) >= limit {
			slow.Merge(p.delay)
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(x, y *pairQueue) int { return cmp.Compare(y.delay.Sum(), x.delay.Sum()) })
	pairs := make([]pairQueue, len(found))
	for i, p := range found {
		pairs[i] = *p
	}
	switch {
	case whole && len(pairs) == 0: // the pairs that make it slow are not kept apart
		return t.delay.Clone(), nil
	case !whole && float64(slow.Count()) < minClassShare*float64(t.delay.Count()):
		return hist.Histogram{}, nil
	}
	return slow, pairs
}

// What stages without a queue take. Forwarding and wrapping take tens of microseconds, a decrypting tunnel hundreds: at
// the least delays here something other than the work itself holds the packet.
const (
	stageWarning, stageCritical = 0.001, 0.005
	// beyondUsual is how many times the usual delay is still none too much: a machine that has always been slow is no
	// news. But it excuses no more than beyondLimit times what is expected.
	beyondUsual, beyondLimit = 3, 4
)

// stageCauses are the delays of the stages in which nothing is queued.
func stageCauses(w *window) []Finding {
	var found []Finding
	for i := range w.counts.Stages {
		st := &w.counts.Stages[i]
		cause, ok := map[journey.Stage]Cause{
			journey.Forward: ForwardDelay, journey.Encap: EncapDelay, journey.Decap: SoftirqDelay,
		}[st.Stage]
		if !ok {
			continue
		}
		warning, critical := stageWarning, stageCritical
		usual, known := w.to.Baseline[st.StageKey]
		if known {
			warning = min(max(warning, beyondUsual*usual), beyondLimit*warning)
			critical = min(max(critical, beyondUsual*usual), beyondLimit*critical)
		}
		t := timing{delay: st.Delay}
		if st.Delay.Above(warning) < minSamples { // nothing to look for in the pairs
			continue
		}
		t.pairs = w.pairsIn(st.StageKey)
		slow, pairs := t.slow(warning)
		if slow.Above(warning) < minSamples {
			continue
		}
		f := w.stageDelay(cause, st.StageKey, &slow, pairs)
		if known {
			f.Delay.Baseline = &usual
			f.pain = aggregate.Excess(slow.Sum(), slow.Count(), usual) / w.seconds()
		}
		limit := warning
		if slow.Quantile(0.5) >= critical && slow.Above(critical) >= minCritical {
			f.Severity, limit = Critical, critical
		}
		f.claim = f.Delay.claim()
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s from a p50 of %s: nothing is queued in this stage", f.Severity, seconds(limit)))
		f.Evidence = append(f.Evidence, w.changes(f)...)
		f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
		found = append(found, *f)
	}
	return found
}

// stageDelay is a warning of that cause, as yet without what is usual.
func (w *window) stageDelay(cause Cause, at aggregate.StageKey, slow *hist.Histogram, pairs []pairQueue) *Finding {
	f := &Finding{
		Kind: KindDelay, Cause: cause, Severity: Warning,
		Stage: at.Stage, Device: at.Device, Direction: at.Direction,
		Delay: &Delay{P50: new(slow.Quantile(0.5)), P99: new(slow.Quantile(0.99)), Share: share(pairs)},
		pain:  slow.Sum() / w.seconds(),
	}
	f.Pairs, f.PairsTotal = names(pairs, nil, nil)
	f.Confidence = confidence(float64(slow.Count()), float64(slow.Above(stageWarning))/float64(max(1, slow.Count())), w.counts)
	line := fmt.Sprintf("%s took %s (p50), %s (p99)", packets(slow.Count()), seconds(*f.Delay.P50), seconds(*f.Delay.P99))
	if f.Delay.Share != nil {
		line += fmt.Sprintf("; that is %s of their time on this node", percent(*f.Delay.Share))
	}
	f.Evidence = []string{line}
	device := at.Device
	if device == journey.PodLabel {
		device = "pods' devices"
	}
	switch cause {
	case ForwardDelay:
		f.subject = "forwarding to " + device
		f.Evidence = append(f.Evidence, "between two devices there are routing, netfilter, a queue of it in user space (NFQUEUE), and the wait for a next hop's link address")
		f.Next = []string{"nft list ruleset | grep -c rule", "grep . /proc/net/netfilter/nfnetlink_queue", "ip -s neigh show nud incomplete"}
	case EncapDelay:
		f.subject = "the tunnel " + device
		f.Evidence = append(f.Evidence, "between the tunnel and the device under it there are wrapping, encryption where the tunnel does any, routing and netfilter of the outer packet")
		f.Next = []string{"ip -d -s link show dev " + at.Device, "perf top -g"}
	case SoftirqDelay:
		f.subject = "the softirq that unwraps packets for " + device
		if s, ok := w.softnet(); ok {
			f.Evidence = append(f.Evidence, fmt.Sprintf("softnet_stat of the machine: the budget ran out %s, %s dropped",
				plural(s.TimeSqueeze, "time"), packets(s.Dropped)))
			if s.TimeSqueeze == 0 && s.Dropped == 0 {
				f.Confidence *= 0.8
			}
		}
		f.Evidence = append(f.Evidence, "unwrapped packets wait for a softirq's next turn: a CPU that has no time for it holds them up")
		f.Next = []string{"cat /proc/net/softnet_stat", "mpstat -P ALL 1 3", "ps -eo pid,cls,ni,pcpu,comm --sort=-pcpu | head"}
	}
	return f
}

// pairsIn are the pairs that passed a stage at a place.
func (w *window) pairsIn(at aggregate.StageKey) []pairQueue {
	var out []pairQueue
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		for j := range p.Stages {
			if p.Stages[j].StageKey == at {
				out = append(out, pairQueue{Pair: p, delay: &p.Stages[j].Delay})
			}
		}
	}
	return out
}
