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

// OwnTries are some that may be unanswered, so many at most, each of another conversation.
func (a *Aggregator) OwnTries(limit int) (tries []OwnTry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conversations.all {
		s := &c.end[client]
		if s.tries == 0 || s.node != 0 || s.begun[2] == 0 || c.end[server].came > 0 {
			continue
		}
		if len(tries) == limit {
			break
		}
		tries = append(tries, OwnTry{
			Protocol: c.protocol, Source: netip.AddrPortFrom(netip.AddrFrom16(c.address[client]).Unmap(), s.begun[2]),
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
	s, port := &c.end[client], t.Source.Port()
	switch {
	case s.begun[2] != port: // answered meanwhile
	case !replied && s.asksReply != port:
		s.unreplied++
		s.asksReply = port
	case replied && s.again == 0: // else TCP tries in vain, on a connection that was older than what we saw of it
		c.hear(server, max(s.first, s.last-time.Second))
	}
}
