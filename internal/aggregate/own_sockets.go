package aggregate

import (
	"net/netip"
	"time"

	"tracer/internal/record"
)

// OwnTry is a connection, or an exchange of datagrams, that a client on the node itself began a second ago or longer, with what no hook
// has seen answered: such answers come by a single hook. The ends are as its packets left, behind NAT.
type OwnTry struct {
	Protocol            record.Protocol
	Source, Destination netip.AddrPort
}

// ownPort is the port, at the first hook, of a connection that began at that time.
type ownPort struct {
	at   time.Duration
	port uint16
}

// byOneHook tells whether what comes to the client may come by a single hook, which makes no record: to the node itself, unless a hook
// has seen something of the server, as it comes out of a tunnel.
func (c *conversation) byOneHook() bool { return c.end[client].node == 0 && c.end[server].came == 0 }

// OwnTries are some that may be unanswered, so many at most, each of another conversation.
func (a *Aggregator) OwnTries(limit int) (tries []OwnTry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conversations.all {
		s := &c.end[client]
		if s.tries == 0 || s.begun[2].port == 0 || !c.byOneHook() {
			continue
		}
		if len(tries) == limit {
			break
		}
		tries = append(tries, OwnTry{
			Protocol: c.protocol, Source: netip.AddrPortFrom(netip.AddrFrom16(c.address[client]).Unmap(), s.begun[2].port),
			Destination: netip.AddrPortFrom(netip.AddrFrom16(c.address[server]).Unmap(), c.port),
		})
	}
	return tries
}

// SetReplied says of one whether the connection table has seen a reply.
func (a *Aggregator) SetReplied(t OwnTry, replied bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.conversations.find(conversationKey{
		address: [2][16]byte{t.Source.Addr().As16(), t.Destination.Addr().As16()}, port: t.Destination.Port(), protocol: t.Protocol,
	})
	if c == nil {
		return
	}
	s := &c.end[client]
	switch {
	case s.begun[2].port != t.Source.Port(): // answered meanwhile
	case replied:
		c.replied()
	case s.tries > s.askedTries:
		s.unreplied++
		s.askedTries = s.tries
	}
}

// replied notes that the connection was answered that began seconds ago. What began in the seconds since is unanswered still.
func (c *conversation) replied() {
	s := &c.end[client]
	if s.again > 0 {
		return // TCP tries in vain, on another one
	}
	begun := s.begun
	c.end[server].heard = max(c.end[server].heard, begun[2].at)
	s.answers++
	s.forget()
	s.begun[0] = begun[0]
	if begun[1] != begun[2] {
		s.begun[1], s.first = begun[1], begun[1].at
	} else {
		s.first = s.last
	}
	s.tries, s.seconds, s.packets, s.connections, s.before = 1, 1, 1, 1, s.first
}

// maxUntranslated bounds the records that wait for TakeUntranslated.
const maxUntranslated = 16

// addConnection counts a TCP connection's record, or puts it by for TakeUntranslated: of what a socket of the node itself sent again, by
// addresses of which no flow is known. NAT may have given the packets others.
func (a *Aggregator) addConnection(rec *record.Record) {
	t := rec.TCP
	if t.Ifindex != 0 || t.RetransmittedLength == 0 && t.Retransmits == 0 || len(a.untranslated) >= maxUntranslated ||
		a.connections.flow(newConnectionKey(&rec.First, false)) != nil || a.namer.Lookup(rec.First.Destination.Addr(), rec.Time).isPod() {
		a.countConnection(rec)
		return
	}
	kept, tcp := *rec, *t
	kept.TCP = &tcp
	a.untranslated = append(a.untranslated, kept)
}

// TakeUntranslated returns such records, which are to come back by AddTranslated, by the addresses that their packets have behind NAT.
func (a *Aggregator) TakeUntranslated() []record.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	records := a.untranslated
	a.untranslated = nil
	return records
}

// AddTranslated counts a record of TakeUntranslated.
func (a *Aggregator) AddTranslated(rec *record.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.countConnection(rec)
}
