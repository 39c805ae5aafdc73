package aggregate

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/record"
)

// minUnanswered is how many packets of a conversation it takes to be told of: a closing connection's last is never answered.
const minUnanswered = 3

// Unanswered is a conversation in which an end on this node has sent packets since it last got any. Times are seconds before
// the snapshot.
type Unanswered struct {
	PairKey
	Service string `json:"service,omitempty"` // of the pair, or that the packets are addressed to
	// Source and Destination are as the packets left. Of the ports only the server's is known, the other is 0.
	Source      netip.AddrPort  `json:"source"`
	Destination netip.AddrPort  `json:"destination"`
	Node        string          `json:"node,omitempty"` // of the destination
	Protocol    record.Protocol `json:"protocol"`
	Client      bool            `json:"client"` // the sender is the client

	Tries       uint64 `json:"tries"`             // records of packets that left this node, or reached a pod of it
	Seconds     uint64 `json:"in_seconds"`        // in which they did
	Packets     uint64 `json:"packets"`           // those packets, weighted
	Connections uint64 `json:"connections"`       // flows that began with one of them
	Retransmits uint64 `json:"retransmits"`       // segments that TCP sent again meanwhile
	Again       uint64 `json:"again"`             // of those, the ones that it had sent again before
	Others      uint64 `json:"others"`            // packets that came meanwhile on other connections, and answered none of this
	Dropped     uint64 `json:"dropped"`           // packets lost on this node meanwhile
	Largest     uint64 `json:"largest"`           // bytes of the largest IP packet
	Sampled     bool   `json:"sampled,omitempty"` // some of them stand for others
	Established bool   `json:"established,omitempty"`
	Wrapped     bool   `json:"wrapped,omitempty"` // they left in a tunnel
	Translated  bool   `json:"translated,omitempty"`
	Query       bool   `json:"query,omitempty"`   // to port 53, as their sender knows it
	Ifindex     int    `json:"ifindex,omitempty"` // of the pod's device that they come from; 0 if they are the node's own

	First float64 `json:"first_seconds"` // the first of them
	Last  float64 `json:"last_seconds"`  // the last, apart from those whose answer may be on its way
	// Answers are how many packets came before them, Answered is when the last did. Gap is the longest time that it took in
	// the minute before, in seconds.
	Answers  uint64  `json:"answers"`
	Answered float64 `json:"answered_seconds"`
	Gap      float64 `json:"gap_seconds"`

	// Meanwhile something came in another conversation: of the same two addresses, of the same pair, or by ICMP from an
	// address that the sender had sent none to.
	AddressAnswered bool `json:"address_answered,omitempty"`
	PairAnswered    bool `json:"pair_answered,omitempty"`
	Refused         bool `json:"refused,omitempty"`
	// Elsewhere is how many other destinations have never answered the sender, and do not now.
	Elsewhere int `json:"elsewhere,omitempty"`
	// Gone tells that the destination's address has no owner any more.
	Gone bool `json:"gone,omitempty"`
}

// Before tells whether the conversation was answered before.
func (u *Unanswered) Before() bool { return u.Answers > 0 || u.Established }

// silence is a conversation's end that gets no answer.
type silence struct {
	*conversation
	end int
	Unanswered
}

// unanswered are the conversations without an answer, those that tried longest first.
func (a *Aggregator) unanswered(taken time.Time) []Unanswered {
	now := a.clock + taken.Sub(a.started)
	var found []silence
	for c := range a.conversations.all {
		for end := range c.end {
			if c.end[end].tries >= minUnanswered {
				found = append(found, silence{conversation: c, end: end, Unanswered: newUnanswered(c, end, now)})
			}
		}
	}
	if found == nil {
		return nil
	}
	a.compare(found)
	slices.SortFunc(found, func(x, y silence) int {
		return cmp.Or(cmp.Compare(y.First, x.First), x.Source.Compare(y.Source), x.Destination.Compare(y.Destination), cmp.Compare(x.Protocol, y.Protocol))
	})
	out := make([]Unanswered, len(found))
	for i := range found {
		out[i] = found[i].Unanswered
	}
	return out
}

func newUnanswered(c *conversation, end int, now time.Duration) Unanswered {
	s, port := &c.end[end], [2]uint16{server: c.port}
	address := func(end int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(c.address[end]).Unmap(), port[end])
	}
	age := func(at time.Duration) float64 { return max(0, now-at).Seconds() }
	u := Unanswered{
		PairKey: s.pair.PairKey, Service: s.pair.Service, Source: address(end), Destination: address(1 - end), Protocol: c.protocol,
		Client: end == client, Ifindex: int(s.node),
		Tries: uint64(s.tries), Seconds: uint64(s.seconds), Packets: uint64(s.packets), Connections: uint64(s.connections), Retransmits: uint64(s.retransmits), Again: uint64(s.again), Others: uint64(s.others),
		Dropped: uint64(s.dropped), Largest: uint64(s.largest), Answers: uint64(s.answers),
		Sampled: s.flags&sampled != 0, Established: s.flags&established != 0, Wrapped: s.flags&wrapped != 0, Translated: s.flags&translated != 0,
		Query: s.flags&query != 0, First: age(s.first), Last: age(s.last),
	}
	if now-s.last < time.Second {
		u.Last = age(s.before)
	}
	if heard := c.end[1-end].heard; heard > 0 {
		u.Answered = age(heard)
	}
	if s.gap > 0 && s.first-s.gapEnd < gapWindow {
		u.Gap = s.gap.Seconds()
	}
	to := s.to.Value()
	u.Node, u.Gone = to.Node, s.named && to == Identity{}
	if u.Service == "" {
		u.Service = serviceOf(to)
	}
	return u
}

// compare finds out what was answered meanwhile in other conversations.
func (a *Aggregator) compare(found []silence) {
	type addresses [2][16]byte
	byAddresses, byPair, bySource := map[addresses][]*silence{}, map[*pair][]*silence{}, map[[16]byte][]*silence{}
	for i := range found {
		s := &found[i]
		from, to := s.address[s.end], s.address[1-s.end]
		byAddresses[addresses{from, to}] = append(byAddresses[addresses{from, to}], s)
		bySource[from] = append(bySource[from], s)
		byPair[s.conversation.end[s.end].pair] = append(byPair[s.conversation.end[s.end].pair], s)
	}
	for c := range a.conversations.all {
		for end := range c.end {
			from, to, heard := c.address[end], c.address[1-end], c.end[1-end].heard
			for _, s := range byAddresses[addresses{from, to}] {
				s.AddressAnswered = s.AddressAnswered || s.conversation != c && heard > s.conversation.end[s.end].first
			}
			if p := c.end[end].pair; p != nil {
				for _, s := range byPair[p] {
					s.PairAnswered = s.PairAnswered || s.conversation != c && heard > s.conversation.end[s.end].first
				}
			}
			silent := heard == 0 && c.end[end].tries > 0
			icmp := (c.protocol == record.ProtocolICMP || c.protocol == record.ProtocolICMPv6) && c.end[end].last == 0
			if !silent && !icmp {
				continue
			}
			for _, s := range bySource[from] {
				if silent && to != s.address[1-s.end] {
					s.Elsewhere++
				}
				s.Refused = s.Refused || icmp && s.conversation.end[s.end].refusedBy(&c.end[1-end])
			}
		}
	}
}

// refusedBy tells whether errors by ICMP answer what was sent. Of many tries one a second is answered so (icmp_ratelimit). Who
// does not find a neighbour says so after three seconds, of some packets: that is no answer of theirs.
func (s *sender) refusedBy(icmp *sender) bool {
	return icmp.came > 0 && icmp.came+time.Second >= s.last && icmp.came-icmp.before <= max(2*time.Second, s.last-s.before+time.Second)
}

// all yields all conversations.
func (all *conversations) all(yield func(*conversation) bool) {
	for _, generation := range []map[conversationKey]*conversation{all.young, all.old} {
		for _, c := range generation {
			if !yield(c) {
				return
			}
		}
	}
}
