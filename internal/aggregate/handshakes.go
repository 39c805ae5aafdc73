package aggregate

import (
	"net/netip"
	"time"

	"tracer/internal/record"
)

// handshakes are those of a server on this node with a client elsewhere, since one was last completed: SYN-ACKs leave this node,
// and SYNs alone come. Records have no TCP flags. But SYNs and SYN-ACKs carry TCP options, and each has the same size when it is
// sent again, not before a second. The ACK that completes a handshake has another size, as have an RST and what follows.
type handshakes struct {
	first, last            time.Duration // the first SYN-ACK, and the last SYN that came after one
	completed              time.Duration // when one last was; 0: never
	completions            uint32
	connections            uint32
	answers, asks, seconds uint32         // SYN-ACKs that left, SYNs that came after one, and in how many seconds those did
	answered               bool           // a SYN-ACK left after the last SYN
	listener               netip.AddrPort // where SYNs came to, behind NAT
}

const (
	// minSYNInterval is the time between two SYNs of a connection at least: TCP's initial RTO, less what it may vary.
	minSYNInterval = 900 * time.Millisecond
	// A SYN has the option MSS at least, and 40 bytes of options at most.
	minSYNOptions, maxSYNOptions = 4, 40
)

// mayOpen tells whether a packet has the size of a SYN or a SYN-ACK.
func mayOpen(rec *record.Record) bool {
	headers := uint32(40 + 20)
	if rec.Last.Source.Addr().Unmap().Is4() {
		headers = 20 + 20
	}
	options := rec.IPBytes - headers
	return options >= minSYNOptions && options <= maxSYNOptions && options%4 == 0
}

// came takes a packet of the client. One that stands for others tells nothing: the ACK may be among them.
func (h *handshakes) came(f *flow, rec *record.Record, weight uint64) {
	again := f.opened > 0
	switch {
	case rec.Kind == record.Dropped && (rec.SYN || !again): // a SYN was counted, or has no answer
		return
	case f.packets == 0 && !again && weight == 1 && mayOpen(rec):
		f.openSize = rec.IPBytes
	case !again:
		return
	case rec.IPBytes != f.openSize || weight > 1 || rec.Kind == record.Dropped || rec.Time-f.opened < minSYNInterval:
		h.complete(f, rec.Time)
		return
	}
	f.opened = rec.Time
	h.listener = rec.Last.Destination
	if !h.answered {
		return
	}
	h.answered = false
	if h.asks == 0 || rec.Time/time.Second > h.last/time.Second {
		h.seconds++
	}
	h.asks++
	h.last = max(h.last, rec.Time)
}

// left takes a packet of the server that left this node.
func (h *handshakes) left(f *flow, rec *record.Record) {
	switch {
	case f.packets == 0 && f.opened == 0 && mayOpen(rec):
		f.openSize = rec.IPBytes
	case f.opened == 0:
		return
	case rec.IPBytes != f.openSize: // an RST, or what is sent once the handshake is complete
		f.opened = 0
		return
	}
	if h.answers > 0 && rec.Time-max(h.first, h.last) > maxPause {
		h.forget()
	}
	if h.answers == 0 {
		h.first = rec.Time
	}
	if f.opened == 0 {
		h.connections++
	}
	f.opened, h.answered = rec.Time, true
	h.answers++
}

// complete notes that a handshake was completed, or refused by the client: SYN-ACKs arrive.
func (h *handshakes) complete(f *flow, at time.Duration) {
	f.opened = 0
	h.completed = at
	h.completions++
	h.forget()
}

func (h *handshakes) forget() {
	h.connections, h.answers, h.asks, h.seconds, h.answered = 0, 0, 0, 0, false
}

// synQueue is since when a listening socket has had connections half open each time that it was asked.
type synQueue struct {
	since, last time.Duration
	length      uint32
}

const (
	// maxSYNQueues bounds those that are kept.
	maxSYNQueues = 1024
	// minHalfOpen is for how long a socket must have had connections half open. A handshake takes one round trip.
	minHalfOpen = 3 * time.Second
)

// SetHalfOpen says how many connections the socket that listens at an address has half open, at that time.
func (a *Aggregator) SetHalfOpen(address netip.AddrPort, at time.Duration, length uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q, known := a.synQueues[address]
	switch {
	case length == 0:
		delete(a.synQueues, address)
		return
	case !known && len(a.synQueues) >= maxSYNQueues:
		for other, q := range a.synQueues {
			if at-q.last > maxPause {
				delete(a.synQueues, other)
			}
		}
		if len(a.synQueues) >= maxSYNQueues {
			return
		}
	}
	if !known || at-q.last > maxPause {
		q.since = at
	}
	q.last, q.length = at, length
	a.synQueues[address] = q
}

// halfOpen are the conversations in which SYN-ACKs left this node and no handshake was completed, though the client goes on
// trying, where the kernel says so too: the listening socket has had connections half open all the while.
func (a *Aggregator) halfOpen(now time.Duration) (found []Unanswered) {
	if len(a.synQueues) == 0 {
		return nil
	}
	for c := range a.conversations.all {
		h, s := &c.handshakes, &c.end[server]
		q, known := a.synQueues[h.listener]
		if h.asks < minUnanswered || s.pair == nil || !known || q.last-max(q.since, h.first) < minHalfOpen || len(found) == maxUnanswered {
			continue
		}
		u := newUnanswered(c, server, now)
		age := func(at time.Duration) float64 { return max(0, now-at).Seconds() }
		u.HalfOpen, u.Tries, u.Packets, u.Connections, u.Others = uint64(q.length), uint64(h.answers), uint64(h.answers), uint64(h.connections), uint64(h.asks)
		u.Seconds, u.Retransmits, u.Again, u.Dropped, u.Sampled, u.Established, u.Gap = uint64(h.seconds), 0, 0, 0, false, false, 0
		u.First, u.Last, u.Answers, u.Answered = age(h.first), age(h.last), uint64(h.completions), 0
		if h.completions > 0 {
			u.Answered = age(h.completed)
		}
		if d := a.devices.Find(int(s.out)); d != nil {
			u.LeftBy = d.Label
		}
		found = append(found, *u)
	}
	return found
}
