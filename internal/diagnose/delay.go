package diagnose

import (
	"fmt"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

const (
	// minSamples is how many packets a finding needs at least, and minCritical one that is critical.
	minSamples, minCritical = 3, 5
	// minClassShare is the least share of a queue's packets that counts as a class of its own.
	minClassShare = 0.01
	// minHeldAge is the least age in seconds at which packets that have not come out say that a queue is slow.
	minHeldAge = 0.1
	// minHeldShare is the least share of them in what came to the queue while they were in it, so that a few
	// forgotten ones in a queue that moves are no finding.
	minHeldShare = 0.1
)

// delayed tells whether the queue holds packets longer than it should.
func (q *queue) delayed(w *window) *Finding {
	e := q.expected
	slow, pairs := q.slow(e.delayWarning)
	var heldLong uint64
	if q.held > 0 {
		heldLong = q.heldAges.Above(max(e.delayCritical, minHeldAge))
		// How many came out while the oldest one was held, at the window's rate.
		span := 1.0
		if length := w.length().Seconds(); length > 0 {
			span = min(1, q.oldest/length)
		}
		if float64(heldLong) < minHeldShare*(float64(heldLong)+float64(q.passed)*span) {
			heldLong = 0
		}
	}
	samples := slow.Above(e.delayWarning) + heldLong
	if samples < minSamples {
		return nil
	}
	f := &Finding{
		Kind: KindDelay, Cause: QdiscDelay, Severity: Warning,
		Stage: journey.Queue, Device: q.device, Direction: q.direction,
		Delay:   &Delay{Held: q.held},
		Next:    q.next(),
		subject: q.subject(), why: q.because(),
	}
	hurt := slow.Clone()
	if heldLong > 0 {
		hurt.Merge(&q.heldAges)
	}
	if hurt.Above(e.delayCritical) >= minCritical && hurt.Quantile(0.5) >= e.delayCritical {
		f.Severity = Critical
	}
	if slow.Count() > 0 {
		f.Delay.P50, f.Delay.P99 = new(slow.Quantile(0.5)), new(slow.Quantile(0.99))
	}
	if q.held > 0 {
		f.Delay.Oldest = &q.oldest
	}
	usual, ok := w.to.Baseline[aggregate.StageKey{Stage: journey.Queue, Device: q.device, Direction: q.direction}]
	if ok {
		f.Delay.Baseline = &usual
	}
	excess := aggregate.Excess(slow.Sum(), slow.Count(), usual)
	if heldLong > 0 {
		excess += q.heldAges.Sum()
	}
	f.claim = f.Delay.claim()
	f.pain = excess / w.seconds()
	f.Delay.Share = share(pairs)
	f.Pairs, f.PairsTotal = names(pairs, q.heldPairs, w.counts.Pairs)
	f.Confidence = confidence(float64(samples), float64(hurt.Above(e.delayWarning))/float64(hurt.Count()), w.counts)
	f.Evidence = append(q.describe(), q.delayEvidence(&slow, f.Delay.Share)...)
	limit := e.delayWarning
	if f.Severity == Critical {
		limit = e.delayCritical
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s from a p50 of %s: %s", f.Severity, seconds(limit), e.reason))
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	return f
}

// claim says in the summary what is slow.
func (d *Delay) claim() string {
	if d.P50 == nil {
		return fmt.Sprintf("holds %s, the oldest for %s", packets(d.Held), seconds(*d.Oldest))
	}
	usual := ""
	if d.Baseline != nil {
		usual = "; usual " + seconds(*d.Baseline)
	}
	return fmt.Sprintf("holds packets %s (p50%s)", seconds(*d.P50), usual)
}

// share is how much of the time that the pairs' packets spend on this node they spend in the queue; nil if unknown.
func share(pairs []pairQueue) *float64 {
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
		line := fmt.Sprintf("%s came out after %s (p50), %s (p99)", packets(slow.Count()),
			seconds(slow.Quantile(0.5)), seconds(slow.Quantile(0.99)))
		if rest := q.delay.Count() - min(q.delay.Count(), slow.Count()); rest > 0 {
			line += fmt.Sprintf("; %s of other pairs were faster", packets(rest))
		}
		if share != nil {
			line += fmt.Sprintf("; that is %s of their time on this node", percent(*share))
		}
		out = append(out, line)
	} else if q.passed == 0 {
		out = append(out, "no packet came out in the window")
	}
	if q.held > 0 {
		line := fmt.Sprintf("%s wait in it, the oldest for %s", packets(q.held), seconds(q.oldest))
		if b := q.backlog(); b > 0 {
			line += fmt.Sprintf(" (its own backlog: %s)", packets(b))
		}
		out = append(out, line)
	}
	return out
}
