package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// handshakeAfter is after how long a WireGuard session is of no use any more (REJECT_AFTER_TIME in drivers/net/wireguard/messages.h):
// a new handshake is tried after two minutes where something is sent.
const handshakeAfter = 3 * time.Minute

// strangers are the peers of one WireGuard device that do not shake hands while something is sent to them.
type strangers struct {
	device string
	peers  []stranger // those that most is sent to first
}

type stranger struct {
	*netdev.Peer
	sent, received uint64 // bytes in the window, of handshakes alone
	silent         []*aggregate.Unanswered
	packets        uint64 // of those
}

// wireguardRules find encryption where WireGuard's peers do not shake hands.
func wireguardRules(w *window) (found []Finding) {
	for _, s := range w.strangers() {
		found = append(found, s.finding(w))
	}
	return found
}

// strangers are the peers without a session, by device: those to which handshakes are sent, and those that nobody knows where to
// send to while pods do.
func (w *window) strangers() (all []strangers) {
	stale := make(map[*netdev.Peer]*stranger)
	for i := range w.to.Peers {
		p := &w.to.Peers[i]
		if len(p.Allowed) > 0 && (p.Handshake.IsZero() || w.to.Taken.Sub(p.Handshake) >= handshakeAfter) {
			stale[p] = &stranger{Peer: p}
		}
	}
	if len(stale) == 0 {
		return nil
	}
	for i := range w.counts.Unanswered {
		u := &w.counts.Unanswered[i]
		if u.Direction == journey.Local {
			continue
		}
		if s := stale[w.wireGuardPeer(u.Destination.Addr())]; s != nil {
			s.silent = append(s.silent, u)
			s.packets += u.Packets
		}
	}
	for i := range w.to.Peers {
		s := stale[&w.to.Peers[i]]
		if s == nil {
			continue
		}
		if before := w.peerBefore(s.Peer); before != nil {
			s.sent, s.received = rise(s.TxBytes, before.TxBytes), rise(s.RxBytes, before.RxBytes)
		}
		if s.sent == 0 && (s.packets < minSamples || s.Endpoint.IsValid()) {
			continue // nothing is sent
		}
		at := slices.IndexFunc(all, func(of strangers) bool { return of.device == s.Device })
		if at < 0 {
			at = len(all)
			all = append(all, strangers{device: s.Device})
		}
		all[at].peers = append(all[at].peers, *s)
	}
	for _, of := range all {
		slices.SortStableFunc(of.peers, func(x, y stranger) int { return cmp.Compare(y.packets, x.packets) })
	}
	return all
}

// finding is of all of a device: a warning, critical where pods' packets have no answer.
func (s *strangers) finding(w *window) Finding {
	first := &s.peers[0]
	f := Finding{
		Kind: KindDrop, Cause: Encryption, Severity: Warning, Stage: journey.Encap, Device: s.device, Direction: journey.Out, Pairs: []Pair{},
		Confidence: 0.95, subject: "WireGuard's " + first.name() + " at " + s.device,
		predicate: fmt.Sprintf("%s: nothing gets through to %s", first.since(w), prefixes(first.Allowed)),
		Next: []string{"wg show " + shellWord(s.device) + " # on both nodes: the keys, the latest handshake, the endpoint",
			"nft list ruleset | grep -nE 'udp.*drop' # on both nodes"},
	}
	if first.Endpoint.IsValid() {
		f.Next = append(f.Next, "ping -c 3 "+first.Endpoint.Addr().String())
	}
	var pairs []*aggregate.Pair
	var hurt uint64
	for i := range s.peers {
		p := &s.peers[i]
		hurt += p.packets
		for _, u := range p.silent {
			pairs = append(pairs, &aggregate.Pair{PairKey: u.PairKey, Service: u.Service})
		}
		if i < maxLines {
			f.Evidence = append(f.Evidence, p.describe(w))
		}
	}
	if more := len(s.peers) - maxLines; more > 0 {
		f.Evidence = append(f.Evidence, plural(uint64(more), "more peer")+" without a handshake")
	}
	if more := uint64(len(s.peers) - 1); more > 0 {
		f.predicate += fmt.Sprintf("; nor to %s", plural(more, "more peer"))
	}
	if d, old := deviceNamed(w.to.Devices, s.device), deviceNamed(w.from.Devices, s.device); d != nil && old != nil {
		if n := rise(d.Traffic.TxDrops, old.Traffic.TxDrops); n > 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s dropped %s that were to be sent (tx_dropped)", s.device, packets(n)))
		}
	}
	f.Drops = &Drops{Packets: hurt}
	f.Pairs, f.PairsTotal = pairNames(pairs)
	f.pain = float64(hurt) * aggregate.MinRTO / w.seconds()
	if hurt >= minCritical {
		f.Severity = Critical
	}
	return f
}

// name is how people know a peer.
func (s *stranger) name() string {
	if !s.Endpoint.IsValid() {
		return "peer without an endpoint"
	}
	return "peer " + s.Endpoint.String()
}

func (s *stranger) since(w *window) string {
	if s.Handshake.IsZero() {
		return "never shook hands"
	}
	return "has shaken no hands for " + seconds(w.to.Taken.Sub(s.Handshake).Seconds())
}

// describe says what is known of one.
func (s *stranger) describe(w *window) string {
	text := fmt.Sprintf("%s, with %s behind it, %s; without a handshake in %s nothing can be encrypted for it", s.name(), prefixes(s.Allowed),
		s.since(w), seconds(handshakeAfter.Seconds()))
	switch {
	case s.sent > 0 && s.received > 0:
		text += fmt.Sprintf("; %s of handshakes were sent to it and %s came: one way is open, or it has another key", plural(s.sent, "byte"), group(s.received))
	case s.sent > 0:
		text += fmt.Sprintf("; %s of handshakes were sent to it, and nothing came", plural(s.sent, "byte"))
	}
	if s.packets > 0 {
		text += fmt.Sprintf("; %s of pods to it had no answer", packets(s.packets))
	}
	return text
}

// peerBefore is a peer as it was when the window began; nil if it was not known.
func (w *window) peerBefore(p *netdev.Peer) *netdev.Peer {
	i := slices.IndexFunc(w.from.Peers, func(b netdev.Peer) bool {
		return b.Device == p.Device && b.Endpoint == p.Endpoint && slices.Equal(b.Allowed, p.Allowed)
	})
	if i < 0 {
		return nil
	}
	return &w.from.Peers[i]
}

// wireGuardPeer is the WireGuard peer that packets to an address go to: that with the longest prefix; nil if there is none.
func (w *window) wireGuardPeer(a netip.Addr) (peer *netdev.Peer) {
	longest := -1
	for i := range w.to.Peers {
		for _, prefix := range w.to.Peers[i].Allowed {
			if prefix.Contains(a.Unmap()) && prefix.Bits() > longest {
				peer, longest = &w.to.Peers[i], prefix.Bits()
			}
		}
	}
	return peer
}

// prefixes names the first few.
func prefixes(all []netip.Prefix) string {
	var names []string
	for _, p := range all[:min(maxLines, len(all))] {
		names = append(names, p.String())
	}
	text := strings.Join(names, ", ")
	if more := len(all) - maxLines; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
