package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// dropping tells whether the queue loses more packets than it should.
func (q *queue) dropping(w *window) *Finding {
	counted, known := q.counted()
	unseen := q.dropped == 0 && known && counted > 0
	if unseen { // what we did not see, for want of the hook, the qdisc itself may have counted
		q.dropped = counted
	}
	if q.dropped < minSamples {
		return nil
	}
	ratio := q.lossRatio()
	if ratio < q.expected.lossWarning {
		return nil
	}
	f := &Finding{
		Kind: KindDrop, Cause: QdiscDrop, Severity: Warning,
		Stage: journey.Queue, Device: q.device, Direction: q.direction,
		Drops:   &Drops{Packets: q.dropped, Ratio: &ratio},
		Next:    q.next(),
		subject: q.subject(), claim: "drops " + percent(ratio), why: q.because(),
	}
	if ratio >= q.expected.lossCritical && q.dropped >= minCritical {
		f.Severity = Critical
	}

	agreement := 1.0
	var line string
	if unseen {
		agreement = 0
		line = fmt.Sprintf("the qdisc itself counted %s dropped, of %s; tracer saw none of them, so that it cannot tell whose they were",
			packets(q.dropped), group(q.arrived()))
	} else {
		f.Drops.Reason = reasonOf(q.drops)
		line = fmt.Sprintf("%s of %s were dropped here (%s)", group(q.dropped), packets(q.arrived()), strings.Join(reasons(q.drops), ", "))
		if known {
			line += fmt.Sprintf("; the qdisc's own count rose by %s", group(counted))
			agreement = float64(min(counted, q.dropped)) / float64(max(counted, q.dropped))
		}
	}
	f.Confidence = confidence(float64(q.dropped), agreement, w.counts)

	var hit []pairQueue
	through := aggregate.MinRTO + q.delay.Quantile(0.5) // is sent again after that at least
	f.pain = float64(q.dropped) * through
	for _, p := range q.pairs {
		if p.dropped > 0 {
			hit = append(hit, p)
			f.pain += float64(p.dropped) * (max(through, w.rto(p.Pair)) - through)
		}
	}
	f.pain /= w.seconds()
	slices.SortStableFunc(hit, func(x, y pairQueue) int { return cmp.Compare(y.dropped, x.dropped) })
	f.Pairs, f.PairsTotal = names(hit, nil, nil)

	limit := q.expected.lossCritical
	if f.Severity == Warning {
		limit = q.expected.lossWarning
	}
	f.Evidence = append(q.describe(), line,
		fmt.Sprintf("%s from a loss of %s: %s", f.Severity, percent(limit), q.expected.reason))
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	return f
}

// arrived is how many packets came to the queue in the window: those that came out, those lost, and by how many it has
// grown.
func (q *queue) arrived() uint64 {
	return q.dropped + q.passed + q.held - min(q.held, q.heldBefore)
}

// lossRatio is the share of what arrived that was lost.
func (q *queue) lossRatio() float64 { return float64(q.dropped) / float64(max(1, q.arrived())) }
