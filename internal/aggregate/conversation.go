package aggregate

import (
	"time"
	"unique"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// sender is what one end of a conversation has sent since it last got anything from the other one. Only of an end on this
// node more is known than when it was heard.
type sender struct {
	heard       time.Duration // when something of it last came that answers the other end, here or to this node; 0 if nothing did
	came        time.Duration // when a hook last saw anything of it
	first, last time.Duration // of what is unanswered
	othersFrom  time.Duration // when the first of others came
	before      time.Duration // the last in a second before that of last or, of who is elsewhere, of came
	gap         time.Duration // the longest time that it waited for an answer that came, of those of the last gapWindow
	gapEnd      time.Duration // when that came
	pair        *pair         // of what it sends; nil as long as it has sent nothing from this node
	to          unique.Handle[Identity]
	named       bool     // the other end had a name once
	asked       [16]byte // where it sent the last of what is unanswered to, before NAT
	askedPort   uint16
	fromPort    uint16     // of that, before NAT
	begun       [3]ownPort // connections that began with what is unanswered: the last, and those of seconds before
	node        int32      // ifindex of the pod's device that it is behind; 0 if it is none of this node's pods
	out         int32      // ifindex of the device by which the last of what is unanswered left
	answers     uint32     // packets that came from the other end, ever
	tries       uint32     // records of packets that left, unanswered
	seconds     uint32     // in which they did
	packets     uint32     // those packets, weighted
	connections uint32     // flows that began with one of them
	retransmits uint32     // segments that TCP sent again meanwhile
	again       uint32     // of those, the ones that it had sent again before
	others      uint32     // packets that came meanwhile and answered none of this
	dropped     uint32     // packets lost on this node meanwhile
	largest     uint32     // bytes of the largest IP packet among them
	unreplied   uint32     // how often the connection table had seen no reply to one of those, though more was sent
	askedTries  uint32     // when it had none last
	flags       senderFlags
	blockade    blockade
}

// leavesForWorld tells whether a pod's packets leave this node for one that is none of the cluster's, and in no tunnel.
func (s *sender) leavesForWorld() bool {
	if s.node == 0 || s.pair == nil || s.pair.Direction != journey.Out || s.flags&wrapped != 0 {
		return false
	}
	to := s.to.Value()
	return to.Namespace == "" && to.Workload != NodeWorkload
}

type senderFlags uint8

const (
	sampled     senderFlags = 1 << iota // some of its packets stand for others
	established                         // one of its connections was, when it sent again
	wrapped                             // its packets left in a tunnel
	translated                          // with another source address than their own
	query                               // to port 53, as their sender knows it
)

// gapWindow is for how long it is remembered how long an answer took to come.
const gapWindow = time.Minute

// maxHandshake is how long after a connection's first packet, or a SYN that TCP says it sent again, the server's first one
// comes at most. Where it takes longer, the connection was older than what we saw of it.
const maxHandshake = 3500 * time.Millisecond

// maxPause is the longest pause between two tries that are of one silence.
const maxPause = time.Minute

// dnsPort is that of queries, to a server which may have another one.
const dnsPort = 53

// conversation is what two addresses send each other.
type conversation struct {
	conversationKey
	generation uint32
	end        [2]sender
	tried      ports // of connections that the client has begun since it was last answered
	came       ports // of connections of which the server's packets were seen first
	served     ports // of connections to another address that NAT sent to this server
	ownNode    bool  // one end is the node itself
	handshakes handshakes
}

// sent counts a packet that left an end of this node, for its other end or for a pod of this node.
func (c *conversation) sent(end int, rec *record.Record, f *flow, weight uint64) {
	s := &c.end[end]
	if rec.Time <= c.end[1-end].heard {
		return // told late
	}
	begins := f.packets == 0 && c.begins(end, f, rec.Time)
	if s.isOver(rec.Time, c.protocol, begins) {
		s.forget()
	}
	if s.tries == 0 {
		s.first, s.last, s.before, s.dropped, s.flags = rec.Time, rec.Time, rec.Time, 0, s.flags&established
	}
	if s.tries == 0 || rec.Time/time.Second > s.last/time.Second {
		s.seconds++
		s.before = s.last
		copy(s.begun[1:], s.begun[:])
	}
	s.first, s.last, s.pair, s.to = min(s.first, rec.Time), max(s.last, rec.Time), f.pair, f.dst
	s.named = s.named || s.to.Value() != Identity{}
	s.asked, s.askedPort, s.fromPort, s.out = rec.First.Destination.Addr().As16(), rec.First.Destination.Port(), rec.First.Source.Port(), int32(rec.Hops[rec.Len-1].Ifindex)
	if end == client && rec.First.Destination.Addr() != rec.Last.Destination.Addr() && !c.served.has(rec.Last.Source.Port()) {
		c.served.add(rec.Last.Source.Port(), rec.Time)
	}
	s.tries++
	s.packets += uint32(weight)
	if begins {
		s.connections++
		if c.protocol != record.ProtocolTCP || mayOpen(rec) { // else it is older than what we saw of it
			s.begun[0] = ownPort{rec.Time, rec.First.Source.Port()}
		}
	}
	s.largest = max(s.largest, rec.IPBytes)
	if weight > 1 {
		s.flags |= sampled
	}
	if rec.Encapsulated {
		s.flags |= wrapped
	}
	if rec.First.Source != rec.Last.Source {
		s.flags |= translated
	}
	if rec.First.Destination.Port() == dnsPort {
		s.flags |= query
	}
}

// begins tells whether a new flow of an end is a new connection. It is an older one if the server was heard on it.
func (c *conversation) begins(end int, f *flow, at time.Duration) bool {
	port := f.key.clientPort(end)
	if end == server {
		return true
	}
	if c.came.has(port) {
		return false
	}
	c.tried.add(port, at)
	return true
}

// isOver tells whether what has no answer wants none any more when something else is sent. The last acknowledgement of a
// TCP connection that closes has none: only a new connection, or a segment that is sent again, asks for one.
func (s *sender) isOver(now time.Duration, protocol record.Protocol, begins bool) bool {
	pause := now - s.last
	return s.tries > 0 && (pause > maxPause ||
		protocol == record.ProtocolTCP && s.connections+s.retransmits == 0 && (begins || pause > 2*time.Second+2*(s.last-s.first)))
}

// forget begins anew, as after an answer. How packets left stays known of what was answered.
func (s *sender) forget() {
	s.flags &= wrapped | translated
	s.tries, s.seconds, s.packets, s.connections, s.retransmits, s.again, s.others, s.dropped, s.largest = 0, 0, 0, 0, 0, 0, 0, 0, 0
	s.begun, s.unreplied, s.askedTries = [3]ownPort{}, 0, 0
}

// receive notes that something of an end came. While a client tries to connect, or sends one segment again and again, what
// comes on older connections answers none of that: a server that hears nothing sends them again, too.
func (c *conversation) receive(end int, clientPort uint16, at time.Duration) {
	s := &c.end[1-end]
	if end == server && c.protocol == record.ProtocolTCP && s.connections+s.again > 0 && !c.tried.since(clientPort, at-maxHandshake) {
		if s.others == 0 {
			s.othersFrom = at
		}
		s.others++
		return
	}
	c.hear(end, at)
}

// hear notes that an end answered what the other one sent up to then.
func (c *conversation) hear(end int, at time.Duration) {
	c.end[end].heard = max(c.end[end].heard, at)
	s := &c.end[1-end]
	s.answers++
	switch {
	case s.tries > 0 && at < s.first: // told very late
		return
	case s.tries > 0 && at < s.last: // told late: what was sent last at least is not answered by it
		s.tries, s.seconds, s.packets, s.connections, s.again, s.first, s.before = 1, 1, 1, min(s.connections, 1), 0, s.last, s.last
		s.begun, s.unreplied, s.askedTries = [3]ownPort{s.begun[0]}, 0, 0
		return
	}
	waited := s.tries > 1
	if c.protocol == record.ProtocolTCP {
		waited = s.tries > 0 && s.retransmits > 0
	}
	if gap := at - s.first; waited && (gap >= s.gap || at-s.gapEnd > gapWindow) {
		s.gap, s.gapEnd = gap, at
	}
	s.forget()
	if end == server {
		c.tried = ports{}
	}
}

// addTCP takes what the kernel knows of a connection at one end: of one that receives, the record was made because it did.
func (c *conversation) addTCP(end int, f *flow, rec *record.Record, seen *answersSeen) {
	const stateEstablished, stateSynSent = 1, 2
	t, s := rec.TCP, &c.end[end]
	if end == server && t.State == stateEstablished && f.opened > 0 {
		c.handshakes.complete(f, rec.Time)
	}
	switch {
	case t.RetransmittedLength > 0 || t.State == stateSynSent:
		if rec.Time > c.end[1-end].heard {
			s.retransmits += max(1, t.Retransmits)
			switch t.State {
			case stateEstablished:
				s.flags |= established
			case stateSynSent:
				c.tried.renew(f.key.clientPort(end), rec.Time)
			}
			if t.RetransmittedAgain {
				s.again++
			}
		}
	case t.State == stateEstablished:
		switch {
		case c.ownNode || t.Ifindex == 0: // no answers from elsewhere, or such as come to the node itself by a single hook
		case rec.Time-c.end[1-end].came > unseenAfter:
			seen.unseen++
		default:
			seen.seen++
		}
		if t.Span > 0 && t.Delivered > 0 {
			c.hear(1-end, rec.Time)
		} else {
			c.receive(1-end, f.key.clientPort(end), rec.Time)
		}
	}
}

// answersSeen counts what TCP says that it received, by whether a hook of ours saw anything of that conversation lately.
type answersSeen struct{ seen, unseen uint64 }

// unseenAfter is how long before TCP received a packet a hook may have seen one: each flow has a quota in each epoch.
const unseenAfter = time.Second
