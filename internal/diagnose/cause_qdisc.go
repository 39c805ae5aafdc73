package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
)

// qdiscRules find qdisc-delay and qdisc-drop: a queue that keeps packets for too long, or drops too many.
func qdiscRules(w *window) []Finding {
	var found []Finding
	for _, q := range w.queues {
		of := []*Finding{q.delayFinding(w), q.dropFinding(w)}
		if of[0] == nil && of[1] == nil && q.limit != nil {
			of = append(of, q.fullLimit(w))
		}
		for _, f := range of {
			if f != nil {
				found = append(found, *f)
				q.hasFinding = true
			}
		}
	}
	return found
}

// delayFinding tells whether packets stay in the queue for longer than they should.
func (q *queue) delayFinding(w *window) *Finding {
	t := q.threshold
	slow, pairs := q.slow(t.WarnDelay)
	stuck := q.stuck(w)
	samples := slow.Above(t.WarnDelay) + stuck
	if samples < minSamples {
		return nil
	}
	f := &Finding{
		Kind: KindDelay, Cause: QdiscDelay, Severity: Warning,
		Stage: q.stage, Device: q.device, Direction: q.direction,
		Delay:   &Delay{InFlight: q.inFlight},
		Next:    q.next(),
		subject: q.subject(), reason: q.reason(),
	}
	all := slow.Clone()
	if stuck > 0 {
		all.Merge(&q.ages)
	}
	if all.Above(t.CriticalDelay) >= minCritical && all.Quantile(0.5) >= t.CriticalDelay {
		f.Severity = Critical
	}
	if slow.Count() > 0 {
		f.Delay.P50, f.Delay.P99 = new(slow.Quantile(0.5)), new(slow.Quantile(0.99))
	}
	if q.inFlight > 0 {
		f.Delay.Oldest = &q.oldest
	}
	baseline, ok := w.to.Baseline[aggregate.StageKey{Stage: q.stage, Device: q.device, Direction: q.direction}]
	if ok {
		f.Delay.Baseline = &baseline
	}
	excess := aggregate.Excess(slow.Sum(), slow.Count(), baseline)
	if stuck > 0 {
		excess += q.ages.Sum()
	}
	f.pain = excess / w.seconds()
	f.predicate = f.Delay.predicate()
	f.Delay.Share = shareOfPath(pairs)
	named := pairsOf(pairs)
	for _, key := range q.inFlightPairs {
		p := w.pair(key)
		if p == nil { // none came out
			p = &aggregate.Pair{PairKey: key}
		}
		named = append(named, p)
	}
	for i := range named {
		named[i] = w.named(named[i])
	}
	f.Pairs, f.PairsTotal = pairNames(named)
	f.Confidence = confidence(float64(samples), float64(all.Above(t.WarnDelay))/float64(all.Count()), w.counts)
	f.Evidence = append(q.describe(w), q.delayEvidence(&slow, f.Delay.Share)...)
	from := t.WarnDelay
	if f.Severity == Critical {
		from = t.CriticalDelay
	}
	why := fmt.Sprintf("%s from a p50 of %s: %s", f.Severity, seconds(from), t.Reason)
	if f.Severity == Critical && q.isFQ() && float64(slow.Count()) < wholeShare*float64(q.delay.Count()) {
		f.Severity = Warning
		why = "warning: fq holds packets until the times that a sender or the CNI sets for them, while it passes others at once"
	}
	f.Evidence = append(f.Evidence, q.judge(w, f, why)...)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}

// judge sets the severity of a finding by what else is known than its figures, and says why; why is what the figures say.
func (q *queue) judge(w *window, f *Finding, why string) []string {
	if q.limit != nil {
		f.Severity = q.limit.severity()
		return []string{q.limit.judgement()}
	}
	if q.waitsForCPU(w) {
		if excuse := w.excuseByCPU(f, longestForCPU, true); excuse != nil {
			return append([]string{why}, excuse...)
		}
	}
	return []string{why}
}

// stuck is how many packets have been in flight in the queue for too long; 0 if they are few of those that came meanwhile.
func (q *queue) stuck(w *window) uint64 {
	if q.inFlight == 0 {
		return 0
	}
	least := minInFlightAge
	if late := q.delay.Above(q.threshold.WarnDelay); late < minSamples || float64(late) < minInFlightShare*float64(q.delay.Count()) {
		least = minAgeAlone
	}
	old := q.ages.Above(max(q.threshold.CriticalDelay, least))
	// How many came out while the oldest one was in it, at the window's rate.
	span := 1.0
	if length := w.length().Seconds(); length > 0 {
		span = min(1, q.oldest/length)
	}
	if float64(old) < minInFlightShare*(float64(old)+float64(q.passed)*span) {
		return 0
	}
	return old
}

// predicate says in the summary what is slow.
func (d *Delay) predicate() string {
	if d.P50 == nil {
		return fmt.Sprintf("holds %s, the oldest for %s", packets(d.InFlight), seconds(*d.Oldest))
	}
	usual := ""
	if d.Baseline != nil {
		usual = "; usual " + seconds(*d.Baseline)
	}
	return fmt.Sprintf("holds packets %s (p50%s)", seconds(*d.P50), usual)
}

// shareOfPath is how much of the time that the pairs' packets spend on this node they spend in the stage; nil if unknown.
func shareOfPath(pairs []pairStage) *float64 {
	var in, all float64
	for _, p := range pairs {
		if p.Path.Count() > 0 {
			in += p.delay.Sum()
			all += p.Path.Sum()
		}
	}
	if all == 0 {
		return nil
	}
	return new(min(1, in/all))
}

// delayEvidence says what was measured.
func (q *queue) delayEvidence(slow *hist.Histogram, share *float64) []string {
	var out []string
	if slow.Count() > 0 {
		line := fmt.Sprintf("%s left the queue after %s (p50), %s (p99)", packets(slow.Count()),
			seconds(slow.Quantile(0.5)), seconds(slow.Quantile(0.99)))
		if rest := q.delay.Count() - min(q.delay.Count(), slow.Count()); rest > 0 {
			line += fmt.Sprintf("; %s of other pairs %s faster", packets(rest), verb(rest, "was", "were"))
		}
		if share != nil {
			line += fmt.Sprintf("; that is %s of their time on this node", percent(*share))
		}
		out = append(out, line)
	} else if q.passed == 0 {
		out = append(out, "no packet seen to enter the queue left it in the window")
	}
	if q.inFlight > 0 {
		line := fmt.Sprintf("%s %s in the queue, the oldest for %s", packets(q.inFlight), verb(q.inFlight, "waits", "wait"), seconds(q.oldest))
		if b := q.backlog(); b > 0 {
			line += fmt.Sprintf(" (the qdisc's own backlog: %s)", packets(b))
		}
		out = append(out, line)
	}
	return out
}

// dropFinding tells whether the queue drops more packets than it should.
func (q *queue) dropFinding(w *window) *Finding {
	t := q.threshold
	counted, known := q.counted()
	unseen := q.dropped == 0 && known && counted > 0
	if unseen { // what we did not see, for want of the hook, the qdisc itself may have counted
		q.dropped = counted
	}
	if q.dropped < minSamples {
		return nil
	}
	ratio := q.lossRatio()
	if ratio < t.WarnLoss {
		return nil
	}
	f := &Finding{
		Kind: KindDrop, Cause: QdiscDrop, Severity: Warning,
		Stage: q.stage, Device: q.device, Direction: q.direction,
		Drops:   &Drops{Packets: q.dropped, Ratio: &ratio},
		Next:    q.next(),
		subject: q.subject(), predicate: "drops " + percent(ratio), reason: q.reason(),
	}
	from := t.WarnLoss
	if ratio >= t.CriticalLoss && q.dropped >= minCritical {
		f.Severity, from = Critical, t.CriticalLoss
	}

	agreement := 1.0
	var line string
	if unseen {
		agreement = 0
		line = fmt.Sprintf("the qdisc itself counted %s dropped, of %s; tracer saw none of them and cannot tell whose they were",
			packets(q.dropped), group(q.arrived()))
	} else {
		f.Drops.Reason = mainReason(q.drops)
		line = fmt.Sprintf("%s of %s were dropped here (%s)", group(q.dropped), packets(q.arrived()), strings.Join(reasons(q.drops), ", "))
		if known {
			line += fmt.Sprintf("; the qdisc itself counted %s", group(counted))
			agreement = float64(min(counted, q.dropped)) / float64(max(counted, q.dropped))
		}
	}
	f.Confidence = confidence(float64(q.dropped), agreement, w.counts)

	var hit []pairStage
	rto := aggregate.MinRTO + q.delay.Quantile(0.5) // the least: the round trip takes the queue's delay at least
	f.pain = float64(q.dropped) * rto
	for _, p := range q.pairs {
		if p.dropped > 0 {
			hit = append(hit, p)
			f.pain += float64(p.dropped) * (max(rto, w.rto(p.Pair)) - rto)
		}
	}
	f.pain /= w.seconds()
	slices.SortStableFunc(hit, func(x, y pairStage) int { return cmp.Compare(y.dropped, x.dropped) })
	named := pairsOf(hit)
	for i := range named {
		named[i] = w.named(named[i])
	}
	f.Pairs, f.PairsTotal = pairNames(named)

	f.Evidence = append(q.describe(w), line)
	f.Evidence = append(f.Evidence, q.judge(w, f, fmt.Sprintf("%s from a loss of %s: %s", f.Severity, percent(from), t.Reason))...)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}
