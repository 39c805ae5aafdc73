package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

const (
	// fullWarning and fullCritical are shares of the time in which an application leaves its sender no room, fullLeast the
	// least of it in seconds.
	fullWarning, fullCritical = 0.25, 0.5
	fullLeast                 = 1.0
	// unreadLeast is how long a full buffer takes to be read at least, in seconds: a fast connection's buffer may be full,
	// and is read in milliseconds.
	unreadLeast = 0.1
	// refusedIn is in how many seconds of the window somebody has to be refused: while pods come and go, some are, not for
	// long.
	refusedIn = 4
	// overfullWarning and overfullCritical are seconds in which a queue of connections is found full: a burst fills it for
	// less than one.
	overfullWarning, overfullCritical = 2, 4
	// lastingShare is the share of the window that all those seconds have to be besides: in an hour there are many bursts.
	lastingShare = 0.1
	// openingRTO is after how many seconds a SYN is sent again for the first time (TCP_TIMEOUT_INIT).
	openingRTO = 1.0
)

// receiverCauses are what pods' sockets do: the network has brought the packets.
func receiverCauses(w *window) []Finding {
	var found []Finding
	if f := receiverSlow(w); f != nil {
		found = append(found, *f)
	}
	found = append(found, receiverDrops(w)...)
	if f := noListener(w); f != nil {
		found = append(found, *f)
	}
	return append(found, acceptQueueFull(w)...)
}

// slowReader is a pair whose receiver does not read as fast as is sent.
type slowReader struct {
	*aggregate.Pair
	full, watched float64 // seconds
	unread        hist.Histogram
	afar          bool // known by its closed window alone
}

// slowReaders are the pairs whose application lets its sender wait, as its own end says, or the sender's where that alone
// is on this node.
func slowReaders(s *aggregate.Snapshot) []slowReader {
	var out []slowReader
	known := map[aggregate.PairKey]bool{}
	slow := func(full, watched float64) bool { return full >= fullLeast && full >= fullWarning*watched }
	for i := range s.Pairs {
		p := &s.Pairs[i]
		if t := p.TCP; t != nil && p.DstNamespace != "" && slow(t.BufferFull, t.UnreadSeconds) && t.Unread.Quantile(0.5) >= unreadLeast {
			out = append(out, slowReader{Pair: p, full: t.BufferFull, watched: t.UnreadSeconds, unread: t.Unread})
			known[p.PairKey] = true
		}
	}
	for i := range s.Pairs {
		p := &s.Pairs[i]
		if t := p.TCP; t != nil && p.DstNamespace != "" && !known[p.PairKey] && slow(t.WindowClosed, t.SendPending) && t.RWNDLimited >= fullLeast {
			out = append(out, slowReader{Pair: p, full: t.WindowClosed, watched: t.SendPending, afar: true})
		}
	}
	slices.SortStableFunc(out, func(x, y slowReader) int { return cmp.Compare(y.full, x.full) })
	return out
}

// receiverSlow tells an application that reads slowly from a network that is slow: TCP drops nothing then, its sender
// waits.
func receiverSlow(w *window) *Finding {
	// What probes a closed window is thrown away as it should be.
	w.losses.take(func(d *aggregate.DropCount) bool { return d.Reason == "TCP_ZEROWINDOW" })
	slow := slowReaders(w.counts)
	if len(slow) == 0 {
		return nil
	}
	worst := &slow[0]
	f := &Finding{
		Kind: KindDelay, Cause: ReceiverSlow, Severity: Warning, Stage: journey.Deliver, Device: journey.PodLabel, Direction: worst.Direction,
		Next: []string{"ss -tmi # in the pod: Recv-Q is what waits to be read", "nstat -az TcpExtTCPToZeroWindowAdv # in the pod"},
	}
	pairs := make([]pairQueue, len(slow))
	var full float64
	for i, p := range slow {
		pairs[i] = pairQueue{Pair: p.Pair}
		full += p.full
		if p.full >= fullCritical*p.watched && p.full >= 2*fullLeast {
			f.Severity = Critical
		}
	}
	f.pain = full / w.seconds()
	f.Pairs, f.PairsTotal = names(pairs, nil, nil)
	f.subject = "the application " + f.Pairs[0].Dst
	share := worst.full / worst.watched
	f.claim = fmt.Sprintf("reads slowly what %s sends: it leaves no room for more in %s of the time", f.Pairs[0].Src, percent(share))
	f.Confidence = confidence(worst.full/fullLeast*5, share, w.counts)
	if worst.afar {
		f.Confidence *= inferred
		f.Evidence = append(f.Evidence, fmt.Sprintf("its window was closed for %s of %s in which there was more to send; nothing but that window held the sender up for %s",
			seconds(worst.full), seconds(worst.watched), seconds(worst.TCP.RWNDLimited)),
			"known from the sender's end: the application is on another node")
	} else {
		f.Delay = &Delay{P50: new(worst.unread.Quantile(0.5)), P99: new(worst.unread.Quantile(0.99))}
		f.Evidence = append(f.Evidence, fmt.Sprintf("for %s of %s in which something waited to be read more than half of its receive buffer waited to be read; to read it takes %s (p50)",
			seconds(worst.full), seconds(worst.watched), seconds(*f.Delay.P50)))
	}
	f.Evidence = append(f.Evidence, "the network has delivered what waits there: the application is slow, not the network")
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	return f
}

// receiverDrops are packets for which a socket's buffer had no room.
func receiverDrops(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		return slices.Contains([]string{"SOCKET_RCVBUFF", "PROTO_MEM", "SOCKET_BACKLOG"}, d.Reason)
	})
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossCause {
		return lossCause{
			cause: ReceiverSlow, subject: "an application that reads slowly", warning: 0.01, critical: 0.05, certainty: 1,
			evidence: []string{"its socket's receive buffer was full: the network had delivered them"},
			next:     []string{"ss -uamp # in the pod: Recv-Q is what waits to be read", "nstat -az UdpRcvbufErrors # in the pod"},
		}
	})
}

// lasts tells whether something is seen in as many seconds of the window as it takes.
func (w *window) lasts(seconds, least uint64) bool {
	return seconds >= least && float64(seconds) >= lastingShare*w.length().Seconds()
}

// noListener are connections that somebody asked for at a port of a pod where nobody listens. What the node itself tries
// is kubelet's probing of pods that start.
func noListener(w *window) *Finding {
	var hit []*aggregate.Pair
	var refused, passed uint64
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if p.TCP == nil || !w.lasts(p.TCP.RefusedSeconds, refusedIn) || p.SrcWorkload == aggregate.NodeWorkload || p.DstNamespace == "" {
			continue
		}
		hit = append(hit, p)
		refused += p.TCP.Refused
		passed += max(p.TCP.Refused, p.Path.Count())
	}
	if refused < minCritical {
		return nil
	}
	slices.SortStableFunc(hit, func(x, y *aggregate.Pair) int { return cmp.Compare(y.TCP.Refused, x.TCP.Refused) })
	f := &Finding{
		Kind: KindDrop, Cause: NoListener, Severity: Warning, Stage: journey.Deliver, Device: journey.PodLabel, Direction: hit[0].Direction,
		pain: float64(refused) * aggregate.MinRTO / w.seconds(),
	}
	if refused > strays {
		f.Severity = Critical
	}
	ratio := float64(refused) / float64(passed)
	f.Drops = &Drops{Packets: refused, Ratio: &ratio, Reason: "NO_SOCKET"}
	pairs := make([]pairQueue, len(hit))
	for i, h := range hit {
		pairs[i] = pairQueue{Pair: h}
	}
	f.Pairs, f.PairsTotal = names(pairs, nil, nil)
	f.subject = "nobody in " + f.Pairs[0].Dst
	f.claim = fmt.Sprintf("listens at the port that %s connects to: %s refused", f.Pairs[0].Src, plural(refused, "connection"))
	f.Confidence = confidence(float64(refused), 1, w.counts)
	f.Evidence = []string{
		fmt.Sprintf("%s asked for a connection and met no socket; that is %s of what these pairs sent", packets(refused), percent(ratio)),
		fmt.Sprintf("it went on: in %s of the window somebody was refused; critical beyond %s", plural(hit[0].TCP.RefusedSeconds, "second"), plural(strays, "connection")),
	}
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	f.Next = []string{"ss -ltn # in the pod: does it listen, and not at 127.0.0.1 alone?", "kubectl get endpointslices,svc # does the Service's targetPort agree?"}
	return f
}

// lookAtAcceptQueue is how a person sees what is said of it.
var lookAtAcceptQueue = [...]string{
	"ss -ltn # in the pod: Recv-Q waits to be accepted, Send-Q is the most that may",
	"nstat -az TcpExtListenOverflows TcpExtListenDrops # in the pod",
}

// acceptQueueFull are connections that the kernel would have made and the application did not accept.
func acceptQueueFull(w *window) []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return d.Reason == "TCP_LISTEN_OVERFLOW" })
	found := w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossCause {
		return lossCause{
			cause: AcceptQueueFull, subject: "an application that does not accept connections in time", warning: 0.01, critical: 0.05, certainty: 1,
			evidence: []string{"its listening socket's queue was full"},
			next:     lookAtAcceptQueue[:],
		}
	})
	// The same twice: by what was seen of the queue, and by what was lost for it.
	if f := overfull(w); f != nil && (len(found) == 0 || f.Severity == Critical) {
		return []Finding{*f}
	}
	return found
}

// overfull are listening sockets that were found to have no room for one more connection: on most kernels what asks for
// one is thrown away without a word then.
func overfull(w *window) *Finding {
	var hit []*aggregate.Pair
	for i := range w.counts.Pairs {
		if p := &w.counts.Pairs[i]; p.TCP != nil && w.lasts(p.TCP.AcceptQueueFullSeconds, overfullWarning) {
			hit = append(hit, p)
		}
	}
	if len(hit) == 0 {
		return nil
	}
	slices.SortStableFunc(hit, func(x, y *aggregate.Pair) int {
		return cmp.Compare(y.TCP.AcceptQueueFullSeconds, x.TCP.AcceptQueueFullSeconds)
	})
	worst := hit[0].TCP
	f := &Finding{
		Kind: KindDrop, Cause: AcceptQueueFull, Severity: Warning, Stage: journey.Deliver, Device: journey.PodLabel, Direction: hit[0].Direction,
		Next: lookAtAcceptQueue[:],
	}
	if w.lasts(worst.AcceptQueueFullSeconds, overfullCritical) {
		f.Severity = Critical
	}
	pairs := make([]pairQueue, len(hit))
	for i, p := range hit {
		pairs[i] = pairQueue{Pair: p}
		f.pain += float64(p.TCP.AcceptQueueFullSeconds) * openingRTO / w.seconds()
	}
	f.Pairs, f.PairsTotal = names(pairs, nil, nil)
	f.subject = "the application " + f.Pairs[0].Dst
	f.claim = fmt.Sprintf("does not accept connections in time: its queue is full where %s connects", f.Pairs[0].Src)
	f.Confidence = confidence(float64(worst.AcceptQueueFullSeconds), 1, w.counts)
	f.Evidence = []string{
		fmt.Sprintf("its listening socket had no room for one more connection in %s of the window: %s of at most %s waited to be accepted",
			plural(worst.AcceptQueueFullSeconds, "second"), group(uint64(worst.AcceptQueue.Length)), group(uint64(worst.AcceptQueue.Limit))),
		fmt.Sprintf("the kernel throws away who asks for one then, who asks again after a second, two, four; critical from %s on",
			plural(overfullCritical, "second")),
	}
	f.Evidence = append(f.Evidence, lostEvidence(w.counts)...)
	return f
}
