package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// unansweredPair is a pair of which too many requests have no answer, as the devices of one end's pods on this node show it.
type unansweredPair struct {
	*aggregate.Pair
	side *aggregate.RequestSide
}

// lost is how many have none.
func (u *unansweredPair) lost() uint64 { return u.side.GivenUp + u.side.Closed + u.side.Waiting }

// ended is how many of them somebody has ended. Of the others nobody knows whether they are not meant to wait.
func (u *unansweredPair) ended() uint64 { return u.side.GivenUp + u.side.Closed }

// records is how many records those come from that have no answer.
func (u *unansweredPair) records() uint64 { return u.side.EndedRecords + u.side.WaitingRecords }

// asked is of how many requests it is known what became of them.
func (u *unansweredPair) asked() uint64 { return u.side.Answered.Count() + u.lost() }

// unansweredRules find requests-unanswered: at a pod of this node that was asked it is the application's; where a pod of this node has asked
// another node's, nobody here knows whose. Whatever else is found of a pair explains it.
func unansweredRules(w *window) (found []Finding) {
	var here, beyond []unansweredPair
	for key, r := range w.requests {
		if !inCluster(key.SrcNamespace, key.SrcWorkload) || key.DstNamespace == "" {
			continue
		}
		atServer := r.Server.Count() > 0
		u := unansweredPair{side: &r.Client}
		if atServer {
			u.side = &r.Server
		}
		if !u.isLossy() {
			continue
		}
		if atServer {
			u.Pair = w.askedPair(key)
		} else {
			key.Direction = journey.Out
			if u.Pair = w.pair(key); u.Pair == nil {
				u.Pair = &aggregate.Pair{PairKey: key}
			}
		}
		switch {
		case w.isExplained(&u):
		case atServer:
			here = append(here, u)
		default:
			beyond = append(beyond, u)
		}
	}
	if len(here) > 0 {
		found = append(found, w.unansweredRequests(here, true))
	}
	if len(beyond) > 0 {
		found = append(found, w.unansweredRequests(beyond, false))
	}
	return found
}

// isLossy tells whether so many requests have no answer that it is no chance, and of connections that alternate. One record may stand for many.
func (u *unansweredPair) isLossy() bool {
	s := u.side
	// One without an answer has its connection to itself from then on: it says as much of connections as two that were answered.
	if s.LeftOut > 0 && s.Timed+2*u.records() <= 2*timedInVain*s.LeftOut {
		return false
	}
	return u.records() >= minCritical && float64(u.lost()) >= unansweredThreshold.WarnLoss*float64(u.asked())
}

// everAnswered tells whether the end that was asked has answered since the agent knows the pair. Who has never may not be meant to.
func (w *window) everAnswered(u *unansweredPair) bool {
	return u.side.Answered.Count() > 0 || slices.ContainsFunc(w.to.Counts.Pairs, func(p aggregate.Pair) bool {
		return p.Requests != nil && whoAsks(p.PairKey) == whoAsks(u.PairKey) && p.Requests.Client.Answered.Count()+p.Requests.Server.Answered.Count() > 0
	})
}

// explains tells whether what was found can leave such a share of requests without an answer: what is late by so much that clients give up, and
// loss, of which a warning is to be of no other size.
func (f *Finding) explains(share float64) bool {
	switch {
	case f.Severity == Info || f.Kind == KindMisconfiguration:
		return false
	case f.Kind == KindDelay && f.Delay != nil && f.Delay.P99 != nil:
		return *f.Delay.P99 >= unansweredCost || f.Delay.Oldest != nil && *f.Delay.Oldest >= unansweredCost
	case f.Kind != KindDelay && f.Severity == Warning && f.Drops != nil && f.Drops.Ratio != nil:
		return *f.Drops.Ratio >= explainingShare*share
	}
	return true
}

// isExplained tells whether something was found that explains what has no answer, and that hurts the pair or what comes back.
func (w *window) isExplained(u *unansweredPair) bool {
	share := float64(u.lost()) / float64(max(1, u.asked()))
	return w.isHurt(&u.PairKey, func(f *Finding) bool { return f.explains(share) })
}

// isHurt tells whether something was found that hurts a pair or what comes back, of what is asked for.
func (w *window) isHurt(key *aggregate.PairKey, by func(*Finding) bool) bool {
	src, dst := qualified(key.SrcNamespace, key.SrcWorkload), qualified(key.DstNamespace, key.DstWorkload)
	return slices.ContainsFunc(w.found, func(f Finding) bool {
		if !by(&f) {
			return false
		}
		if f.Severity == Critical && f.PairsTotal > len(f.Pairs) {
			return true // it may be of this pair
		}
		return slices.ContainsFunc(f.Pairs, func(p Pair) bool {
			return p.Src == src && p.Dst == dst || p.Src == dst && p.Dst == src
		})
	})
}

// unansweredRequests is the finding of pairs whose requests have no answer from pods that are here, or that are beyond this node.
func (w *window) unansweredRequests(pairs []unansweredPair, here bool) Finding {
	slices.SortFunc(pairs, func(x, y unansweredPair) int {
		return cmp.Or(cmp.Compare(y.lost(), x.lost()), x.Compare(y.PairKey))
	})
	worst := &pairs[0]
	f := Finding{Kind: KindDrop, Cause: RequestsUnanswered, Severity: Info, Next: next(RequestsUnanswered, "POD", podAsked(worst.Pair))}
	named := make([]*aggregate.Pair, len(pairs))
	var lost, records uint64
	for i := range pairs {
		u := &pairs[i]
		named[i] = u.Pair
		lost, records = lost+u.lost(), records+u.records()
		if w.everAnswered(u) && u.side.EndedRecords >= minCritical && float64(u.ended()) >= unansweredThreshold.WarnLoss*float64(u.asked()) {
			f.Severity = Warning
		}
	}
	f.pain = float64(lost) * unansweredCost / w.seconds()
	f.Pairs, f.PairsTotal = pairNames(named)
	f.Confidence = confidence(float64(records), 1, w.counts)
	if here {
		f.Next = f.Next[1:]
		f.Stage, f.Device, f.Direction = journey.Deliver, netdev.PodLabel, worst.Direction
		f.subject = "the application " + f.Pairs[0].Dst
		f.predicate = fmt.Sprintf("does not answer %s of %s of %s", group(worst.lost()), plural(worst.asked(), "request"), f.Pairs[0].Src)
	} else {
		f.Next = f.Next[:2]
		f.beyond, f.subject = true, w.observer()
		f.predicate = fmt.Sprintf("%s of %s of %s → %s not answered after they %s", group(worst.lost()), plural(worst.asked(), "request"),
			f.Pairs[0].Src, f.Pairs[0].Dst, w.leaves(worst.Pair))
		f.Confidence *= inferredConfidence
	}
	for i := range pairs[:min(maxPairs, len(pairs))] {
		text := pairs[i].how()
		if !w.everAnswered(&pairs[i]) {
			text += "; it has not answered any since it was watched, and may not be meant to"
		}
		f.Evidence = append(f.Evidence, text)
	}
	if here {
		f.Evidence = append(f.Evidence, "they passed the pod's device and were not sent again, so the pod has them; "+unansweredThreshold.said())
		f.Evidence = append(f.Evidence, w.throttled(f.Pairs)...)
	} else {
		f.Evidence = append(f.Evidence, "TCP did not send them again, so the other end's kernel has them: its application does not answer, or its answers are lost on "+
			"their way here; a datagram may have been lost on either way; "+unansweredThreshold.said())
	}
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}

// said says what a finding takes.
func (t Threshold) said() string {
	return fmt.Sprintf("told from %s of a pair's requests on, and %d of them: %s", percent(t.WarnLoss), minCritical, t.Reason)
}

// how says what became of a pair's requests.
func (u *unansweredPair) how() string {
	var parts []string
	add := func(n uint64, one, many string) {
		if n > 0 {
			parts = append(parts, group(n)+" "+verb(n, one, many))
		}
	}
	add(u.side.GivenUp, "was given up by its client after it had waited", "were given up by their clients after they had waited")
	add(u.side.Closed, "was closed or reset by the end that was asked", "were closed or reset by the end that was asked")
	add(u.side.Waiting, "waits for a minute", "wait for a minute")
	text := fmt.Sprintf("%s → %s: of %s %s", qualified(u.SrcNamespace, u.SrcWorkload), qualified(u.DstNamespace, u.DstWorkload),
		plural(u.asked(), "request"), strings.Join(parts, ", "))
	if u.side.Answered.Count() > 0 { // in the window
		text += fmt.Sprintf("; the others were answered in %s (p50)", seconds(u.side.Answered.Quantile(0.5)))
	}
	return text
}
