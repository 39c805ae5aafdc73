package aggregate

import (
	"net/netip"
	"slices"
	"time"
	"unique"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// conversationKey is who talks to whom, by the addresses that packets have beyond this node: behind its NAT on their way out,
// before it on their way in. Of the two ports only the server's counts, so that a client's connections are one conversation.
type conversationKey struct {
	address  [2][16]byte // the client's, the server's
	port     uint16      // the server's; 0 where the protocol has none
	protocol record.Protocol
}

// The ends of a conversation.
const (
	client = iota
	server
)

// sender is what one end of a conversation has sent since it last got anything from the other one. Only of an end on this
// node more is known than when it was heard.
type sender struct {
	heard       time.Duration // when something of it last came that answers the other end, here or to this node; 0 if nothing did
	came        time.Duration // when a hook last saw anything of it
	first, last time.Duration // of what is unanswered
	before      time.Duration // the last in a second before that of last or, of who is elsewhere, of came
	gap         time.Duration // the longest time that it waited for an answer that came, of those of the last gapWindow
	gapEnd      time.Duration // when that came
	pair        *pair         // of what it sends; nil as long as it has sent nothing from this node
	to          unique.Handle[Identity]
	named       bool   // the other end had a name once
	node        int32  // ifindex of the pod's device that it is behind; 0 if it is none of this node's pods
	answers     uint32 // packets that came from the other end, ever
	tries       uint32 // records of packets that left, unanswered
	seconds     uint32 // in which they did
	packets     uint32 // those packets, weighted
	connections uint32 // flows that began with one of them
	retransmits uint32 // segments that TCP sent again meanwhile
	again       uint32 // of those, the ones that it had sent again before
	others      uint32 // packets that came meanwhile and answered none of this
	dropped     uint32 // packets lost on this node meanwhile
	largest     uint32 // bytes of the largest IP packet among them
	flags       senderFlags
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

// firstEphemeralPort is the first of those that Linux gives to clients (ip_local_port_range).
const firstEphemeralPort = 32768

// conversation is what two addresses send each other.
type conversation struct {
	conversationKey
	generation uint32
	end        [2]sender
	tried      ports // of connections that the client has begun since it was last answered
	came       ports // of connections of which the server's packets were seen first
	ownNode    bool  // one end is the node itself
}

// ports are the latest ports of a client, the last eight, and when they were added.
type ports struct {
	list [8]uint16
	at   [8]time.Duration
	next uint8
}

func (p *ports) add(port uint16, at time.Duration) {
	i := p.next % uint8(len(p.list))
	p.list[i], p.at[i] = port, at
	p.next++
}

// renew sets when a port was added, if it is one of them.
func (p *ports) renew(port uint16, at time.Duration) {
	if i := slices.Index(p.list[:], port); i >= 0 {
		p.at[i] = at
	}
}

// since tells whether a port was added at that time or after it.
func (p *ports) since(port uint16, at time.Duration) bool {
	i := slices.Index(p.list[:], port)
	return port != 0 && i >= 0 && p.at[i] >= at
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
		s.first, s.last, s.before = rec.Time, rec.Time, rec.Time
	}
	if s.tries == 0 || rec.Time.Truncate(time.Second) > s.last.Truncate(time.Second) {
		s.seconds++
		s.before = s.last
	}
	s.first, s.last, s.pair, s.to = min(s.first, rec.Time), max(s.last, rec.Time), f.pair, f.dst
	s.named = s.named || s.to.Value() != Identity{}
	s.tries++
	s.packets += uint32(weight)
	if begins {
		s.connections++
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
	_, _, port, _ := f.key.outside()
	if end == server {
		return true
	}
	if c.came.since(port, 0) {
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

// forget begins anew, as after an answer.
func (s *sender) forget() {
	s.tries, s.seconds, s.packets, s.connections, s.retransmits, s.again, s.others, s.dropped, s.largest, s.flags = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
}

// receive notes that something of an end came. While a client tries to connect, or sends one segment again and again, what
// comes on older connections answers none of that: a server that hears nothing sends them again, too.
func (c *conversation) receive(end int, clientPort uint16, at time.Duration) {
	s := &c.end[1-end]
	if end == server && c.protocol == record.ProtocolTCP && s.connections+s.again > 0 && !c.tried.since(clientPort, at-maxHandshake) {
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
	switch {
	case t.RetransmittedLength > 0 || t.State == stateSynSent:
		if rec.Time > c.end[1-end].heard {
			s.retransmits += max(1, t.Retransmits)
			switch t.State {
			case stateEstablished:
				s.flags |= established
			case stateSynSent:
				_, _, port, _ := f.key.outside()
				c.tried.renew(port, rec.Time)
			}
			if t.RetransmittedAgain {
				s.again++
			}
		}
	case t.State == stateEstablished:
		switch {
		case c.ownNode: // no answers from elsewhere
		case rec.Time-c.end[1-end].came > unseenAfter:
			seen.unseen++
		default:
			seen.seen++
		}
		if t.Span > 0 && t.Delivered > 0 {
			c.hear(1-end, rec.Time)
		} else {
			_, _, port, _ := f.key.outside()
			c.receive(1-end, port, rec.Time)
		}
	}
}

// answersSeen counts what TCP says that it received, by whether a hook of ours saw anything of that conversation lately.
type answersSeen struct{ seen, unseen uint64 }

// unseenAfter is how long before TCP received a packet a hook may have seen one: each flow has a quota in each epoch.
const unseenAfter = time.Second

// conversations are the latest ones, in bounded memory: those that were not looked up while so many others were are forgotten.
type conversations struct {
	young, old map[conversationKey]*conversation
	generation uint32
	max        int // of each
}

func newConversations(limit int) conversations {
	return conversations{young: make(map[conversationKey]*conversation), max: max(1, limit/2)}
}

// find returns the one of that key; nil if there is none.
func (all *conversations) find(key conversationKey) *conversation {
	if c := all.young[key]; c != nil {
		return c
	}
	c := all.old[key]
	if c != nil {
		delete(all.old, key)
		all.put(c)
	}
	return c
}

func (all *conversations) put(c *conversation) {
	if len(all.young) >= all.max {
		all.young, all.old = make(map[conversationKey]*conversation), all.young
		all.generation++
	}
	c.generation = all.generation
	all.young[c.conversationKey] = c
}

// outside are the addresses that a flow has beyond this node.
func (k *flowKey) outside() (source, destination [16]byte, sourcePort, destinationPort uint16) {
	switch k.direction {
	case keyOut:
		return k.address[2], k.address[3], k.port[2], k.port[3]
	case keyIn:
		return k.address[0], k.address[1], k.port[0], k.port[1]
	}
	return k.address[0], k.address[3], k.port[0], k.port[3]
}

// conversation returns the flow's, and which end sends it; nil for what nobody is to answer.
func (a *Aggregator) conversation(f *flow) (*conversation, int) {
	if c := f.conversation; c != nil {
		if c.generation != a.conversations.generation {
			if known := a.conversations.find(c.conversationKey); known != nil {
				f.conversation = known
			} else {
				a.conversations.put(c)
			}
		}
		return f.conversation, int(f.end)
	}
	_, dst, _, _ := f.key.outside()
	if to := netip.AddrFrom16(dst).Unmap(); to.IsMulticast() || to == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return nil, 0
	}
	c, end := a.conversations.of(&f.key)
	if c == nil {
		// Nobody knows who began it: the one with a port that is given to clients, or else the first one seen.
		forth, back := f.key.conversations()
		key := back
		if end = server; back.port >= firstEphemeralPort || forth.port < firstEphemeralPort {
			key, end = forth, client
		}
		c = &conversation{conversationKey: key}
		a.conversations.put(c)
	}
	f.conversation, f.end = c, uint8(end)
	return c, end
}

// conversations are the two that a flow may belong to: its sender may be the client or the server.
func (k *flowKey) conversations() (forth, back conversationKey) {
	src, dst, srcPort, dstPort := k.outside()
	return conversationKey{address: [2][16]byte{src, dst}, port: dstPort, protocol: k.protocol},
		conversationKey{address: [2][16]byte{dst, src}, port: srcPort, protocol: k.protocol}
}

// of returns the conversation of a flow, if it is known, and which end sends the flow.
func (all *conversations) of(k *flowKey) (*conversation, int) {
	forth, back := k.conversations()
	if c := all.find(forth); c != nil {
		return c, client
	}
	return all.find(back), server
}

// hearInFlight notes what has come from outside and is still on its way here, or has left by a way without a hook.
func (a *Aggregator) hearInFlight(rec *record.Record, direction journey.Direction) {
	if direction != journey.In || rec.Hops[0].Hook != record.Ingress {
		return
	}
	key := newFlowKey(rec, direction)
	if c, end := a.conversations.of(&key); c != nil {
		_, _, _, port := key.outside()
		c.receive(end, port, rec.Start())
	}
}

// converse counts a packet in its conversation.
func (a *Aggregator) converse(f *flow, rec *record.Record, direction journey.Direction, weight uint64) {
	if rec.Fragment && rec.First.Destination.Port() == 0 && rec.First.Protocol.Ports() {
		return // not the first one, which alone has ports
	}
	c, end := a.conversation(f)
	if c == nil {
		return
	}
	pod, here := a.sentHere(rec, direction)
	switch {
	case rec.Kind == record.Dropped && (here || c.end[end].pair != nil):
		c.end[end].dropped++
	case !here:
		c.ownNode = c.ownNode || rec.Len > 0 && rec.Hops[0].Hook == record.Egress
		c.seen(end, f, rec.Time)
	default:
		c.end[end].node = int32(pod)
		c.sent(end, rec, f, weight)
		if direction == journey.Local {
			c.seen(end, f, rec.Time)
		}
	}
}

// seen notes that a hook saw something of an end come.
func (c *conversation) seen(end int, f *flow, at time.Duration) {
	_, _, _, port := f.key.outside()
	if f.packets == 0 && end == server && !c.tried.since(port, 0) {
		c.came.add(port, at)
	}
	s := &c.end[end]
	if at.Truncate(time.Second) > s.came.Truncate(time.Second) {
		s.before = s.came
	}
	s.came = max(s.came, at)
	c.receive(end, port, at)
}

// sentHere tells whether a pod of this node or the node itself sent a packet to another node or to another pod, and of a
// pod by which device.
func (a *Aggregator) sentHere(rec *record.Record, direction journey.Direction) (pod int, here bool) {
	if direction != journey.Out && direction != journey.Local || rec.Len == 0 {
		return 0, false
	}
	if rec.Hops[0].Hook == record.Egress {
		return 0, true
	}
	d := a.devices.Find(rec.Hops[0].Ifindex)
	if d == nil || d.Role != netdev.RolePod {
		return 0, false
	}
	return d.Index, true
}
