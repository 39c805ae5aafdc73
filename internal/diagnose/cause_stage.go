package diagnose

import (
	"fmt"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// stageRules find forward-delay, encap-delay and softirq-delay: the delays of the stages in which nothing is queued.
func stageRules(w *window) []Finding {
	causes := map[journey.Stage]Cause{journey.Forward: ForwardDelay, journey.Encap: EncapDelay, journey.Decap: SoftirqDelay}
	var found []Finding
	for i := range w.counts.Stages {
		st := &w.counts.Stages[i]
		if cause, ok := causes[st.Stage]; ok {
			if f := w.slowStage(cause, st); f != nil {
				found = append(found, *f)
			}
		}
	}
	return found
}

// slowStage tells whether packets took longer in a stage than they should, and than they usually do.
func (w *window) slowStage(cause Cause, st *aggregate.StageDelay) *Finding {
	t := stageThreshold
	baseline, known := w.to.Baseline[st.StageKey]
	if known {
		t.WarnDelay = min(max(t.WarnDelay, baselineFactor*baseline), maxBaselineFactor*t.WarnDelay)
		t.CriticalDelay = min(max(t.CriticalDelay, baselineFactor*baseline), maxBaselineFactor*t.CriticalDelay)
	}
	if st.Delay.Above(t.WarnDelay) < minSamples { // nothing to look for in the pairs
		return nil
	}
	stage := stageDelays{delay: st.Delay, pairs: w.pairsIn(st.StageKey)}
	slow, pairs := stage.slow(t.WarnDelay)
	if slow.Above(t.WarnDelay) < minSamples {
		return nil
	}
	f := &Finding{
		Kind: KindDelay, Cause: cause, Severity: Warning,
		Stage: st.Stage, Device: st.Device, Direction: st.Direction,
		Delay: &Delay{P50: new(slow.Quantile(0.5)), P99: new(slow.Quantile(0.99)), Share: shareOfPath(pairs)},
		Next:  next(cause),
		pain:  aggregate.Excess(slow.Sum(), slow.Count(), baseline) / w.seconds(),
	}
	if known {
		f.Delay.Baseline = &baseline
	}
	f.predicate = f.Delay.predicate()
	f.Pairs, f.PairsTotal = pairNames(pairsOf(pairs))
	f.Confidence = confidence(float64(slow.Count()), float64(slow.Above(stageThreshold.WarnDelay))/float64(max(1, slow.Count())), w.counts)
	byTask := w.describeStage(f, &slow)
	from := t.WarnDelay
	if slow.Quantile(0.5) >= t.CriticalDelay && float64(slow.Above(t.CriticalDelay)) >= max(minCritical, minSlowShare*passed(pairs)) {
		f.Severity, from = Critical, t.CriticalDelay
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s from a p50 of %s: nothing is queued in this stage", f.Severity, seconds(from)))
	f.Evidence = append(f.Evidence, w.excuseByCPU(f, longestForSoftirq, byTask)...)
	f.Evidence = append(f.Evidence, w.changes(f)...)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}

// passed is how many packets of the pairs passed this node, by whatever stages.
func passed(pairs []pairStage) (n float64) {
	for _, p := range pairs {
		n += p.Packets
	}
	return n
}

// describeStage says what was measured, and what happens in the stage. byTask tells that packets waited there for a program's verdict.
func (w *window) describeStage(f *Finding, slow *hist.Histogram) (byTask bool) {
	line := fmt.Sprintf("%s took %s (p50), %s (p99)", packets(slow.Count()), seconds(*f.Delay.P50), seconds(*f.Delay.P99))
	if f.Delay.Share != nil {
		line += fmt.Sprintf("; that is %s of their time on this node", percent(*f.Delay.Share))
	}
	f.Evidence = []string{line}
	device := f.Device
	if device == netdev.PodLabel {
		device = "pods' devices"
	}
	switch f.Cause {
	case ForwardDelay:
		f.subject = "forwarding to " + device
		if used := w.queuesUsed(slow.Count()); len(used) > 0 {
			f.subject += " by way of user space (NFQUEUE " + numbers(used) + ")"
			for i := range used {
				f.Evidence = append(f.Evidence, describeQueue(&used[i]))
			}
			f.Evidence = append(f.Evidence, "packets wait there for the verdict of the program that listens")
			f.Next = append([]string{"cat /proc/net/netfilter/nfnetlink_queue", "ss -f netlink -p | grep -i netfilter # who listens, by portid"}, f.Next[:1]...)
			return true
		}
		f.Evidence = append(f.Evidence, "this stage is routing, netfilter with its queues to user space (NFQUEUE), and waiting for the next hop's link address")
		if w.from.Stats.Protocols != nil { // the counters could be read
			f.Evidence = append(f.Evidence, "no packets, or few, went through an NFQUEUE meanwhile")
		}
	case EncapDelay:
		f.subject = "the tunnel " + device
		f.Evidence = append(f.Evidence, "this stage is wrapping, encryption if the tunnel does any, and routing and netfilter of the outer packet")
	case SoftirqDelay:
		f.subject = "the softirq that unwraps packets for " + device
		if s, ok := w.softnet(); ok {
			f.Evidence = append(f.Evidence, fmt.Sprintf("softnet_stat of the machine: the budget ran out %s, %s dropped",
				plural(s.TimeSqueeze, "time"), packets(s.Dropped)))
			if s.TimeSqueeze == 0 && s.Dropped == 0 {
				f.Confidence *= 0.8
			}
		}
		f.Evidence = append(f.Evidence, "unwrapped packets wait for a softirq's next turn, on a CPU that has no time for it")
	}
	return false
}

// queuesUsed are the queues to user space that about as many packets went through in the window as were slow, or that hold some.
func (w *window) queuesUsed(slow uint64) (used []record.NFQueue) {
	for _, q := range w.to.Stats.Queues {
		through := q.Sequence
		for _, old := range w.from.Stats.Queues {
			if old.Number == q.Number && old.PortID == q.PortID {
				through -= min(through, old.Sequence)
			}
		}
		if q.Waiting >= minSamples || 4*through >= slow {
			used = append(used, q)
		}
	}
	return used
}

// pairsIn are the pairs that passed a stage.
func (w *window) pairsIn(at aggregate.StageKey) []pairStage {
	var out []pairStage
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		for j := range p.Stages {
			if p.Stages[j].StageKey == at {
				out = append(out, pairStage{Pair: p, order: i, delay: &p.Stages[j].Delay})
			}
		}
	}
	return out
}
