package aggregate

import (
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// tcp returns the pair's TCP counts, to be changed.
func (p *pair) tcp(now time.Duration) *TCP {
	p.changed, p.lastSeen = true, now
	if p.TCP == nil {
		p.TCP = &TCP{}
	}
	return p.TCP
}

// countConnection counts how a TCP connection stands: for the pair of what this end sends, and for the pair of what it receives.
func (a *Aggregator) countConnection(rec *record.Record) {
	c := rec.TCP
	if p, f := a.sendingPair(rec); p != nil {
		t := p.tcp(rec.Time)
		if f == nil {
			address := rec.First.Destination.Addr()
			t.addSender(c, rec.Time, peerOf(a.namer.Lookup(address, rec.Time), address))
		} else {
			to := f.dst.Value()
			t.addSender(c, rec.Time, peerOf(to, f.key.last().Destination.Addr()))
			t.PeerLimit = to.leastBandwidth()
			f.changed = true
			if conversation, end := a.conversation(f); conversation != nil {
				conversation.addTCP(end, f, rec, &a.tcpAnswers)
			}
			f.tcp.Retransmits += uint64(c.Retransmits)
			if c.RTT > 0 {
				f.tcp.RTTs++
				f.tcp.RTTSeconds += c.RTT.Seconds()
			}
		}
	}
	if p, f := a.receivingPair(rec); p != nil {
		p.tcp(rec.Time).addReceiver(c)
		if d := a.devices.Find(c.Ifindex); d != nil && c.Deliver > 0 {
			step := journey.Step{Stage: journey.Deliver, Device: d, Delay: c.Deliver}
			s := a.pairStage(p, StageKey{step.Stage, d.Label, p.Direction})
			s.observe(&step, 1)
			if f != nil {
				f.observe(s.all, &step, 1)
				f.changed = true
			}
		}
	}
}

// AddQueueFull counts that the listening socket which a packet was for had its accept queue or its SYN queue full, at that time.
func (a *Aggregator) AddQueueFull(rec *record.Record, at time.Duration, listener record.Listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	path, err := journey.PathOf(rec, a.devices)
	if err != nil {
		return // its device is gone
	}
	tcp := a.flow(rec, path.Direction).pair.tcp(at)
	if listener.AcceptQueue.Full {
		tcp.addAcceptQueueFull(at, listener.AcceptQueue)
	}
	if listener.SYNQueue.Full {
		tcp.addSYNQueueFull(at, listener.SYNQueue)
	}
}

// refuses tells of a SYN that was freed in its pod whether nobody listens at its port, so that the kernel sends an RST. TCP
// frees SYNs of connections too that it is about to make: those sent again because the SYN-ACK was lost. Kernels that give
// reasons tell them apart; where they give none at all, such a SYN is known by the one before it, which was not freed.
func (f *flow) refuses(rec *record.Record) bool {
	switch rec.Reason {
	case "NO_SOCKET":
		return true
	case "":
		atTCP := rec.Location == "tcp_v4_rcv" || rec.Location == "tcp_v6_rcv"
		return atTCP && f.packets <= float64(f.refused+1)
	}
	return false
}

// sendingPair returns the pair, and if it is known the flow, of what a connection's end sends.
func (a *Aggregator) sendingPair(rec *record.Record) (*pair, *flow) {
	key := newConnectionKey(&rec.First, false)
	f := a.connections.flow(key)
	if f == nil && rec.TCP.Ifindex == 0 {
		f = a.translatedFlow(rec)
	}
	if f != nil {
		return f.pair, f
	}
	return a.pairByNames(rec.First, rec.Time, journey.Out), nil
}

// translatedFlow returns the flow of what a client on the node itself sends to a Service, which has left to one of its pods from the
// socket's port; nil if nothing has lately, or NAT gave it another port.
func (a *Aggregator) translatedFlow(rec *record.Record) *flow {
	f := a.connections.flow(newConnectionKey(&rec.First, false).ofSource())
	if f == nil || rec.Time-f.lastSeen > time.Second {
		return nil
	}
	service := serviceOf(a.namer.Lookup(rec.First.Destination.Addr(), rec.Time))
	if service == "" || service != EndpointOf(a.namer, f.key.last()) {
		return nil // the port serves another connection, too
	}
	return f
}

// receivingPair returns those of what it receives.
func (a *Aggregator) receivingPair(rec *record.Record) (*pair, *flow) {
	reverse := record.Flow{Source: rec.First.Destination, Destination: rec.First.Source, Protocol: rec.First.Protocol}
	if f := a.connections.flow(newConnectionKey(&reverse, true)); f != nil {
		return f.pair, f
	}
	return a.pairByNames(reverse, rec.Time, journey.In), nil
}

// pairByNames returns the pair of two addresses; nil where one is a Service's, as it is not known which pod is behind it. The
// other end may be on this node too: so the packets of the pair tell the direction.
func (a *Aggregator) pairByNames(flow record.Flow, at time.Duration, direction journey.Direction) *pair {
	src, dst := a.namer.Lookup(flow.Source.Addr(), at), a.namer.Lookup(flow.Destination.Addr(), at)
	if src.Workload == "" && src.Service != "" || dst.Workload == "" && dst.Service != "" {
		return nil
	}
	key := newPairKey(src, dst, direction)
	for _, d := range [...]journey.Direction{direction, journey.Local, journey.In, journey.Out} {
		key.Direction = d
		if p := a.pairs[key]; p != nil && p.Packets > 0 {
			return p
		}
	}
	key.Direction = direction
	return a.pair(key, at)
}
