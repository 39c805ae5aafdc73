package aggregate

import (
	"net/netip"
	"time"

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

// firstEphemeralPort is the first of those that Linux gives to clients (ip_local_port_range).
const firstEphemeralPort = 32768

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

// outside are the indexes of the addresses, and ports, that a flow has beyond this node.
func (k *flowKey) outside() (source, destination int) {
	switch k.direction {
	case keyOut:
		return 2, 3
	case keyIn:
		return 0, 1
	}
	return 0, 3
}

// clientPort is the client's port of a flow that the end sends.
func (k *flowKey) clientPort(end int) uint16 {
	source, destination := k.outside()
	if end == client {
		return k.port[source]
	}
	return k.port[destination]
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
	_, dst := f.key.outside()
	if to := netip.AddrFrom16(f.key.address[dst]).Unmap(); to.IsMulticast() || to == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
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
	src, dst := k.outside()
	return conversationKey{address: [2][16]byte{k.address[src], k.address[dst]}, port: k.port[dst], protocol: k.protocol},
		conversationKey{address: [2][16]byte{k.address[dst], k.address[src]}, port: k.port[src], protocol: k.protocol}
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
func (a *Aggregator) hearInFlight(rec *record.Record) {
	key := newFlowKey(rec, journey.In)
	if c, end := a.conversations.of(&key); c != nil {
		c.receive(end, key.clientPort(end), rec.Start())
	}
}

// converse counts a packet in its conversation. loss tells of one that was dropped that it was lost.
func (a *Aggregator) converse(f *flow, rec *record.Record, direction journey.Direction, weight uint64, loss bool) {
	if rec.Fragment && rec.First.Destination.Port() == 0 && rec.First.Protocol.Ports() {
		return // not the first one, which alone has ports
	}
	c, end := a.conversation(f)
	if c == nil {
		return
	}
	if rec.Kind != record.Dropped {
		c.end[end].blockade.packets = 0
	} else if loss {
		c.end[end].blockade.lose(rec.Time, f.pair)
	}
	pod, here := a.sentHere(rec, direction)
	if c.protocol == record.ProtocolTCP {
		switch {
		case end == client && !here:
			c.handshakes.came(f, rec, weight)
		case end == server && here && direction == journey.Out && rec.Kind != record.Dropped:
			c.handshakes.left(f, rec)
		}
	}
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
	port := f.key.clientPort(end)
	if f.packets == 0 && end == server && !c.tried.has(port) {
		c.came.add(port, at)
	}
	s := &c.end[end]
	if at/time.Second > s.came/time.Second {
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
	d := a.devices.Find(rec.Hops[0].Ifindex)
	if d != nil && d.Role == netdev.RoleIFB {
		return 0, false // a pod's, and by which device it is to be reached is not known
	}
	if rec.Hops[0].Hook == record.Egress {
		return 0, true
	}
	if d == nil || d.Role != netdev.RolePod {
		return 0, false
	}
	return d.Index, true
}
