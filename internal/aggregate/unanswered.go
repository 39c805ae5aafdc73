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

// minForService is how many it takes of those that left for a Service's own address: a connection's SYN, and one that TCP sent again.
const minForService = 2

// maxUnanswered is how many conversations without an answer are told of at most: a scan makes thousands.
const maxUnanswered = 256

// Unanswered is a conversation in which an end on this node has sent packets since it last got any. Times are seconds before
// the snapshot.
type Unanswered struct {
	PairKey
	Service string `json:"service,omitempty"` // of the pair, or that the packets are addressed to
	// Source and Destination are as the packets left. Of the ports only the server's is known, the other is 0.
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"`
	// Asked is the destination as the sender knows it, before NAT: where it differs, a Service's. SourcePort is the port that the
	// last of them came from.
	Asked      netip.AddrPort  `json:"asked"`
	SourcePort uint16          `json:"source_port"`
	Node       string          `json:"node,omitempty"` // of the destination
	Protocol   record.Protocol `json:"protocol"`
	Client     bool            `json:"client"` // the sender is the client

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
	ToService   bool   `json:"to_service,omitempty"` // the destination is a Service's own address: they left untranslated
	Query       bool   `json:"query,omitempty"`      // to port 53, as their sender knows it
	Ifindex     int    `json:"ifindex,omitempty"`    // of the pod's device that they come from; 0 if they are the node's own
	LeftBy      string `json:"left_by,omitempty"`    // label of the device that the last of them left by

	First float64 `json:"first_seconds"` // the first of them
	Last  float64 `json:"last_seconds"`  // the last, apart from those whose answer may be on its way
	// Answers are how many packets came before them, Answered is when the last did. Gap is the longest time that it took in
	// the minute before, in seconds.
	Answers  uint64  `json:"answers"`
	Answered float64 `json:"answered_seconds"`
	Gap      float64 `json:"gap_seconds"`

	// ByOneHook tells of a client on the node itself that answers may come by a single hook, which makes no record. Unreplied is how
	// often the connection table then had seen no reply to what it began, though it had sent more.
	ByOneHook bool   `json:"by_one_hook,omitempty"`
	Unreplied uint64 `json:"unreplied,omitempty"`

	// Meanwhile something came in another conversation: of the same two addresses, of the same pair, or by ICMP from an
	// address that the sender had sent none to.
	AddressAnswered bool `json:"address_answered,omitempty"`
	PairAnswered    bool `json:"pair_answered,omitempty"`
	Refused         bool `json:"refused,omitempty"`
	// Elsewhere is how many other destinations have never answered the sender, and do not now.
	Elsewhere int `json:"elsewhere,omitempty"`
	// OutsideAnswered tells that somebody outside of the cluster, at a public address, has answered a pod whose packets leave
	// this node with the pod's own address.
	OutsideAnswered bool `json:"outside_answered,omitempty"`
	// OutsideMasqueraded tells the same of a pod whose packets leave with another address.
	OutsideMasqueraded bool `json:"outside_masqueraded,omitempty"`
	// OpenAgain tells that the first of Others came after the last try: what let nothing through may be over, and TCP waits before it
	// tries again.
	OpenAgain bool `json:"open_again,omitempty"`
	// HalfOpen is, of a server of which SYN-ACKs left and whose client sends nothing but SYNs, how many connections its
	// listening socket had half open. Tries are those SYN-ACKs then, Others the SYNs that came after one, Seconds those in which
	// they did and Last the last of them; Answers are handshakes that were completed before.
	HalfOpen uint64 `json:"half_open,omitempty"`
	// Gone tells that the destination's address has no owner any more.
	Gone bool `json:"gone,omitempty"`
}

// Redirected tells whether NAT gave the packets another destination than the one that they were sent to.
func (u *Unanswered) Redirected() bool {
	return u.Asked.IsValid() && u.Asked.Addr() != u.Destination.Addr()
}

// Before tells whether the conversation was answered before.
func (u *Unanswered) Before() bool { return u.Answers > 0 || u.Established }

// silence is a conversation's end that gets no answer.
type silence struct {
	*conversation
	end int
	*Unanswered
}

// compareTries orders ends by how much it matters that they get no answer: more where there was one before.
func (s *sender) compareTries(other *sender) int {
	before := func(s *sender) uint32 { return min(s.answers, 1) }
	return cmp.Or(cmp.Compare(before(s), before(other)), cmp.Compare(s.tries, other.tries))
}

// unanswered are the conversations without an answer, those that tried longest first.
func (a *Aggregator) unanswered(taken time.Time) []Unanswered {
	now := a.clock + taken.Sub(a.started)
	var found []silence
	for c := range a.conversations.all {
		for end := range c.end {
			if s := &c.end[end]; s.tries >= minUnanswered || s.tries >= minForService && s.to.Value().Service != "" {
				found = append(found, silence{conversation: c, end: end})
			}
		}
	}
	out := a.halfOpen(now)
	if len(found) > maxUnanswered {
		slices.SortFunc(found, func(x, y silence) int { return y.conversation.end[y.end].compareTries(&x.conversation.end[x.end]) })
		found = slices.Clone(found[:maxUnanswered])
	}
	for i := range found {
		c, end := found[i].conversation, found[i].end
		found[i].Unanswered = newUnanswered(c, end, now)
		if d := a.devices.Find(int(c.end[end].out)); d != nil {
			found[i].LeftBy = d.Label
		}
	}
	if len(found) > 0 {
		a.compare(found, now)
	}
	for i := range found {
		out = append(out, *found[i].Unanswered)
	}
	slices.SortFunc(out, func(x, y Unanswered) int {
		return cmp.Or(cmp.Compare(y.First, x.First), x.Source.Compare(y.Source), x.Destination.Compare(y.Destination), cmp.Compare(x.Protocol, y.Protocol))
	})
	return out[:min(len(out), maxUnanswered)]
}

func newUnanswered(c *conversation, end int, now time.Duration) *Unanswered {
	s, port := &c.end[end], [2]uint16{server: c.port}
	address := func(end int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(c.address[end]).Unmap(), port[end])
	}
	age := func(at time.Duration) float64 { return max(0, now-at).Seconds() }
	u := &Unanswered{
		PairKey: s.pair.PairKey, Service: s.pair.Service, Source: address(end), Destination: address(1 - end), Protocol: c.protocol,
		Asked: netip.AddrPortFrom(netip.AddrFrom16(s.asked).Unmap(), s.askedPort), SourcePort: s.fromPort, Client: end == client, Ifindex: int(s.node),
		Tries: uint64(s.tries), Seconds: uint64(s.seconds), Packets: uint64(s.packets), Connections: uint64(s.connections), Retransmits: uint64(s.retransmits), Again: uint64(s.again), Others: uint64(s.others),
		Dropped: uint64(s.dropped), Largest: uint64(s.largest), Answers: uint64(s.answers),
		Sampled: s.flags&sampled != 0, Established: s.flags&established != 0, Wrapped: s.flags&wrapped != 0, Translated: s.flags&translated != 0,
		Query: s.flags&query != 0, First: age(s.first),
		ByOneHook: end == client && c.byOneHook(), Unreplied: uint64(s.unreplied),
	}
	u.Last, u.OpenAgain = age(s.lastDue(now)), s.others > 0 && s.othersFrom > s.lastDue(now)
	if heard := c.end[1-end].heard; heard > 0 {
		u.Answered = age(heard)
	}
	if s.gap > 0 && s.first-s.gapEnd < gapWindow {
		u.Gap = s.gap.Seconds()
	}
	to := s.to.Value()
	u.Node, u.Gone = to.Node, s.named && to == Identity{}
	if to := serviceOf(to); to != "" {
		u.Service, u.ToService = to, true
	}
	return u
}

// compare finds out what was answered meanwhile in other conversations. In its own, nothing has been heard since the first try.
func (a *Aggregator) compare(found []silence, now time.Duration) {
	type addresses [2][16]byte
	type others struct {
		heard  time.Duration // the last answer
		silent int           // conversations in which there never was one
	}
	between, ofPair, from := map[addresses]*others{}, map[*pair]*others{}, map[[16]byte]*others{}
	errors := map[[16]byte]*sender{}  // who sent the last message by ICMP to an address that had sent it none
	outside := map[senderFlags]bool{} // whether clients are answered from the world, by whether they are translated
	for i := range found {
		s := &found[i]
		source, destination := s.address[s.end], s.address[1-s.end]
		between[addresses{source, destination}], ofPair[s.conversation.end[s.end].pair], from[source] = &others{}, &others{}, &others{}
	}
	for c := range a.conversations.all {
		for end := range c.end {
			s, peer, source := &c.end[end], &c.end[1-end], c.address[end]
			if end == client && peer.heard > 0 && s.leavesForWorld() && !netip.AddrFrom16(c.address[server]).Unmap().IsPrivate() {
				outside[s.flags&translated] = true
			}
			silent := 0
			if peer.heard == 0 && s.tries > 0 {
				silent = 1
			}
			for _, o := range []*others{between[addresses{source, c.address[1-end]}], ofPair[s.pair], from[source]} {
				if o != nil {
					o.heard = max(o.heard, peer.heard)
					o.silent += silent
				}
			}
			icmp := c.protocol == record.ProtocolICMP || c.protocol == record.ProtocolICMPv6
			if icmp && s.last == 0 && from[source] != nil && (errors[source] == nil || peer.came > errors[source].came) {
				errors[source] = peer
			}
		}
	}
	for i := range found {
		s := &found[i]
		me, source := &s.conversation.end[s.end], s.address[s.end]
		same := between[addresses{source, s.address[1-s.end]}]
		s.AddressAnswered, s.PairAnswered = same.heard > me.first, ofPair[me.pair].heard > me.first
		s.OutsideAnswered, s.OutsideMasqueraded = outside[0], outside[translated]
		s.Elsewhere = from[source].silent - same.silent
		s.Refused = errors[source] != nil && me.refusedBy(errors[source], now)
	}
}

// lastDue is when the last try was, apart from those whose answer may be on its way.
func (s *sender) lastDue(now time.Duration) time.Duration {
	if now-s.last < time.Second {
		return s.before
	}
	return s.last
}

// refusedBy tells whether errors by ICMP answer what was sent. Of many tries one a second is answered so (icmp_ratelimit). Who
// does not find a neighbour says so after three seconds, of some packets: that is no answer of theirs.
func (s *sender) refusedBy(icmp *sender, now time.Duration) bool {
	return icmp.came > 0 && icmp.came+time.Second >= s.lastDue(now) && icmp.came-icmp.before <= max(2*time.Second, s.last-s.before+time.Second)
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
