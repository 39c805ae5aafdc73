package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// receiverRules find receiver-slow: an application that does not read as fast as is sent, though the network has delivered.
func receiverRules(w *window) []Finding {
	var found []Finding
	if f := receiverSlow(w); f != nil {
		found = append(found, *f)
	}
	return append(found, receiverDrops(w)...)
}

// slowReader is a pair whose receiver does not read as fast as is sent.
type slowReader struct {
	*aggregate.Pair
	full, watched float64 // seconds
	unread        hist.Histogram
	bySender      bool // known by its closed window alone: the receiver is on another node
}

// slowReaders are the pairs whose application makes its sender wait, as its own end says, or the sender's where that alone
// is on this node.
func slowReaders(s *aggregate.Snapshot) []slowReader {
	var out []slowReader
	known := map[aggregate.PairKey]bool{}
	slow := func(full, watched float64) bool {
		return full >= minFullTime && full >= receiverThreshold.WarnTime*watched
	}
	for i := range s.Pairs {
		p := &s.Pairs[i]
		if t := p.TCP; t != nil && p.DstNamespace != "" && slow(t.BufferFull, t.UnreadSeconds) && t.Unread.Quantile(0.5) >= minReadTime {
			out = append(out, slowReader{Pair: p, full: t.BufferFull, watched: t.UnreadSeconds, unread: t.Unread})
			known[p.PairKey] = true
		}
	}
	for i := range s.Pairs {
		p := &s.Pairs[i]
		if t := p.TCP; t != nil && p.DstNamespace != "" && !known[p.PairKey] && slow(t.WindowClosed, t.SendPending) && t.RWNDLimited >= minFullTime {
			out = append(out, slowReader{Pair: p, full: t.WindowClosed, watched: t.SendPending, bySender: true})
		}
	}
	slices.SortStableFunc(out, func(x, y slowReader) int { return cmp.Compare(y.full, x.full) })
	return out
}

// receiverSlow tells an application that reads slowly from a network that is slow: TCP drops nothing then, its sender
// waits.
func receiverSlow(w *window) *Finding {
	// What probes a closed window is dropped as it should be.
	w.losses.take(func(d *aggregate.DropCount) bool { return d.Reason == "TCP_ZEROWINDOW" })
	slow := slowReaders(w.counts)
	if len(slow) == 0 {
		return nil
	}
	worst := &slow[0]
	f := &Finding{
		Kind: KindDelay, Cause: ReceiverSlow, Severity: Warning, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: worst.Direction,
		Next: next(ReceiverSlow),
	}
	pairs := make([]*aggregate.Pair, len(slow))
	var full float64
	for i, p := range slow {
		pairs[i] = p.Pair
		full += p.full
		if p.full >= receiverThreshold.CriticalTime*p.watched && p.full >= 2*minFullTime {
			f.Severity = Critical
		}
	}
	f.pain = full / w.seconds()
	f.Pairs, f.PairsTotal = pairNames(pairs)
	f.subject = "the application " + f.Pairs[0].Dst
	share := worst.full / worst.watched
	f.predicate = fmt.Sprintf("reads slowly what %s sends: it leaves no room for more in %s of the time", f.Pairs[0].Src, percent(share))
	f.Confidence = confidence(worst.full/minFullTime*5, share, w.counts)
	if worst.bySender {
		f.Confidence *= inferredConfidence
		f.Evidence = append(f.Evidence, fmt.Sprintf("its receive window was closed for %s of the %s in which there was more to send; the sender waited for that window alone for %s",
			seconds(worst.full), seconds(worst.watched), seconds(worst.TCP.RWNDLimited)),
			"known from the sender's end: the application is on another node")
	} else {
		f.Delay = &Delay{P50: new(worst.unread.Quantile(0.5)), P99: new(worst.unread.Quantile(0.99))}
		f.Evidence = append(f.Evidence, fmt.Sprintf("more than half of its receive buffer was unread for %s of the %s in which anything was; such a buffer takes %s (p50) to read",
			seconds(worst.full), seconds(worst.watched), seconds(*f.Delay.P50)))
	}
	f.Evidence = append(f.Evidence, "the network has delivered what is unread: the application is slow, not the network")
	f.Evidence = append(f.Evidence, w.throttled(f.Pairs)...)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}

// receiverDrops are packets for which a socket's buffer had no room.
func receiverDrops(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		return slices.Contains([]string{"SOCKET_RCVBUFF", "PROTO_MEM", "SOCKET_BACKLOG"}, d.Reason)
	})
	return w.explain(lost, func(_ aggregate.StageKey, lost []aggregate.DropCount) lossRule {
		return lossRule{
			cause: ReceiverSlow, subject: "the application " + w.receiverOf(lost) + ", which reads slowly,", threshold: receiverDropThreshold, certainty: 1,
			evidence: []string{"its socket's receive buffer was full: the network had delivered them"},
			next:     []string{"ss -uamp # in the pod: Recv-Q is what waits to be read", "nstat -az UdpRcvbufErrors # in the pod"},
		}
	})
}
