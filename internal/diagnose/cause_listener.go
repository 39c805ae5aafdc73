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

// listenerRules find no-listener and accept-queue-full: connections that clients ask for and do not get.
func listenerRules(w *window) []Finding {
	var found []Finding
	if f := noListener(w); f != nil {
		found = append(found, *f)
	}
	found = append(found, acceptQueueFull(w)...)
	if f := synQueueFull(w); f != nil {
		found = append(found, *f)
	}
	return found
}

// noListener are connections that clients asked for at a port of a pod where nothing listens. What the node itself tries
// is kubelet's probing of pods that start.
func noListener(w *window) *Finding {
	t := listenerThreshold
	var hit []*aggregate.Pair
	var refused, sent uint64
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if p.TCP == nil || !w.lasts(p.TCP.RefusedSeconds, t.WarnSeconds) || p.SrcWorkload == aggregate.NodeWorkload || p.DstNamespace == "" {
			continue
		}
		hit = append(hit, p)
		refused += p.TCP.Refused
		sent += max(p.TCP.Refused, p.Passed())
	}
	if refused < minCritical {
		return nil
	}
	slices.SortStableFunc(hit, func(x, y *aggregate.Pair) int { return cmp.Compare(y.TCP.Refused, x.TCP.Refused) })
	ratio := float64(refused) / float64(sent)
	f := &Finding{
		Kind: KindDrop, Cause: NoListener, Severity: Warning, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: hit[0].Direction,
		Drops: &Drops{Packets: refused, Ratio: &ratio, Reason: w.refusal()},
		Next:  next(NoListener),
		pain:  float64(refused) * aggregate.MinRTO / w.seconds(),
	}
	if refused >= t.CriticalCount {
		f.Severity = Critical
	}
	f.Pairs, f.PairsTotal = pairNames(hit)
	f.subject = "the application " + f.Pairs[0].Dst
	f.predicate = fmt.Sprintf("does not listen at the port that %s connects to: %s refused", f.Pairs[0].Src, plural(refused, "connection"))
	certainty := 1.0
	f.Evidence = []string{
		fmt.Sprintf("%s (SYN) found no listening socket and were answered by RST, %s of all that these pairs sent", packets(refused), percent(ratio)),
		fmt.Sprintf("connections were refused in %s of the window; critical from %s on", plural(hit[0].TCP.RefusedSeconds, "second"), plural(t.CriticalCount, "connection")),
	}
	if f.Drops.Reason == journey.NotSpecified {
		certainty = byFunction
		f.Evidence = append(f.Evidence, noReason)
	}
	f.Confidence = confidence(float64(refused), certainty, w.counts)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return f
}

// refusal is the reason that the kernel gave for SYNs that found no listening socket: kernels that give reasons have one
// for that.
func (w *window) refusal() string {
	reason := noSocket
	for i := range w.counts.Drops {
		switch d := &w.counts.Drops[i]; {
		case d.Stage != journey.Deliver || !strings.HasPrefix(d.Location, "tcp_v"):
		case d.Reason == noSocket:
			return noSocket
		case d.Reason == journey.NotSpecified:
			reason = journey.NotSpecified
		}
	}
	return reason
}

// noSocket is the kernel's reason for what no socket was there for.
const noSocket = "NO_SOCKET"

// acceptQueueFull are connections that the kernel would have made and the application did not accept.
func acceptQueueFull(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return d.Reason == "TCP_LISTEN_OVERFLOW" })
	found := w.explain(lost, func(_ aggregate.StageKey, lost []aggregate.DropCount) lossRule {
		return lossRule{
			cause: AcceptQueueFull, subject: "the application " + w.receiverOf(lost) + ", which does not accept connections in time,", threshold: acceptQueueDropThreshold, certainty: 1,
			evidence: []string{"its listening socket's accept queue was full"},
		}
	})
	// The same twice: by what was seen of the queue, and by what was lost for it.
	if f := acceptQueueSeenFull(w); f != nil && (len(found) == 0 || f.Severity == Critical) {
		return []Finding{*f}
	}
	return found
}

// acceptQueueSeenFull are listening sockets that were found to have no room for one more connection: most kernels drop the
// SYNs then without giving a reason.
func acceptQueueSeenFull(w *window) *Finding {
	f, worst := w.fullQueue(func(t *aggregate.TCP) uint64 { return t.AcceptQueueFullSeconds })
	if f == nil {
		return nil
	}
	f.Next = next(AcceptQueueFull)
	f.subject = "the application " + f.Pairs[0].Dst
	f.predicate = fmt.Sprintf("does not accept connections in time: its accept queue is full where %s connects", f.Pairs[0].Src)
	f.Evidence = append([]string{
		fmt.Sprintf("its accept queue was full in %s of the window: %s waited in it, its limit is %s",
			plural(worst.AcceptQueueFullSeconds, "second"), plural(uint64(worst.AcceptQueue.Length), "connection"), group(uint64(worst.AcceptQueue.Limit))),
		fmt.Sprintf("meanwhile the kernel drops SYNs, which clients send again after 1, 2 and 4 seconds; critical from %s on",
			plural(acceptQueueThreshold.CriticalSeconds, "second")),
	}, append(w.throttled(f.Pairs), missedEvidence(w.counts)...)...)
	return f
}

// fullQueue is of listening sockets that had a queue of theirs full, and what is known of the one for the longest; seconds tells in how
// many of the window. It is nil if none had for long.
func (w *window) fullQueue(seconds func(*aggregate.TCP) uint64) (f *Finding, worst *aggregate.TCP) {
	t := acceptQueueThreshold
	var hit []*aggregate.Pair
	for i := range w.counts.Pairs {
		if p := &w.counts.Pairs[i]; p.TCP != nil && w.lasts(seconds(p.TCP), t.WarnSeconds) {
			hit = append(hit, p)
		}
	}
	if len(hit) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(hit, func(x, y *aggregate.Pair) int { return cmp.Compare(seconds(y.TCP), seconds(x.TCP)) })
	worst = hit[0].TCP
	f = &Finding{
		Kind: KindDrop, Cause: AcceptQueueFull, Severity: Warning, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: hit[0].Direction,
		Confidence: confidence(float64(seconds(worst)), 1, w.counts),
	}
	if w.lasts(seconds(worst), t.CriticalSeconds) {
		f.Severity = Critical
	}
	for _, p := range hit {
		f.pain += float64(seconds(p.TCP)) * initialRTO / w.seconds()
	}
	f.Pairs, f.PairsTotal = pairNames(hit)
	return f, worst
}
