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

// encryptionRules find encryption: IPsec and WireGuard that cannot encrypt or decrypt, since the two ends do not agree. They go before
// policy, as the kernel's reason is the same where a policy forbids a packet and where none can be kept to.
func encryptionRules(w *window) []Finding {
	found := ipsecRules(w)
	for i := range w.to.Peers {
		if f := w.withoutHandshake(&w.to.Peers[i]); f != nil {
			found = append(found, *f)
		}
	}
	return found
}

// xfrmCounter is one of /proc/net/xfrm_stat that means that the two ends do not agree.
type xfrmCounter struct {
	name    string
	sent    bool // counts packets that are to be sent
	meaning string
}

// xfrmCounters are those of Documentation/networking/xfrm/xfrm_proc.rst. Left out are policies that block on purpose (XfrmInPolBlock,
// XfrmOutPolBlock) and want of memory.
func xfrmCounters() []xfrmCounter {
	return []xfrmCounter{
		{"XfrmInNoStates", false, "no state for the SPI of a packet that came: this node does not have the key that the other one encrypts with"},
		{"XfrmInStateProtoError", false, "packets could not be decrypted: the keys or the algorithms of both ends differ"},
		{"XfrmInStateModeError", false, "a state's mode (tunnel, transport) is not that of the packets"},
		{"XfrmInStateSeqError", false, "sequence numbers are out of the replay window: packets came twice or much too late, or the other end began anew"},
		{"XfrmInStateExpired", false, "a state has expired: the key was not renewed"},
		{"XfrmInStateMismatch", false, "a state's encapsulation (ESP in UDP) is not that of the packets"},
		{"XfrmInStateInvalid", false, "a state is not valid (any more)"},
		{"XfrmInTmplMismatch", false, "packets came unencrypted, or by another state than the policy wants: the other end does not encrypt"},
		{"XfrmInNoPols", false, "packets were decrypted that no policy lets in"},
		{"XfrmOutNoStates", true, "a policy wants packets encrypted, and there is no state (key) for them: is the key daemon well?"},
		{"XfrmAcquireError", true, "a policy wants packets encrypted, and there is no state (key) for them yet: the key exchange does not end"},
		{"XfrmOutStateExpired", true, "a state has expired: the key was not renewed"},
		{"XfrmOutStateProtoError", true, "packets could not be encrypted"},
		{"XfrmOutStateSeqError", true, "a state's sequence numbers are used up: the key was not renewed"},
		{"XfrmOutStateModeError", true, "a state's mode (tunnel, transport) does not suit the packets"},
		{"XfrmOutStateInvalid", true, "a state is not valid (any more)"},
	}
}

// ipsecRules find what IPsec loses, by the kernel's own counters.
func ipsecRules(w *window) []Finding {
	type counted struct {
		xfrmCounter
		packets uint64
	}
	var rises []counted
	var total uint64
	for _, c := range xfrmCounters() {
		if n := w.rise(c.name); n > 0 {
			rises = append(rises, counted{c, n})
			total += n
		}
	}
	if total == 0 {
		return nil
	}
	slices.SortStableFunc(rises, func(x, y counted) int { return cmp.Compare(y.packets, x.packets) })
	// What was seen lost by these is theirs: forwarding frees it for a policy's sake, xfrm itself without a reason.
	lost := w.losses.takeSome(total, func(d *aggregate.DropCount) bool {
		at := journey.FunctionName(d.Location)
		return d.Reason == "XFRM_POLICY" || unspecified(d.Reason) && (strings.HasPrefix(at, "xfrm") || strings.HasPrefix(at, "__xfrm") || strings.HasPrefix(at, "esp"))
	})
	var evidence []string
	for _, r := range rises {
		evidence = append(evidence, fmt.Sprintf("the kernel's %s rose by %s: %s", r.name, group(r.packets), r.meaning))
	}
	found := w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossRule {
		return lossRule{
			cause: Encryption, subject: "IPsec (" + rises[0].name + ")", threshold: encryptionThreshold, certainty: 1, evidence: evidence, next: ipsecCommands(),
		}
	})
	for i := range found {
		found[i].Drops.Reason, found[i].reason = rises[0].name, rises[0].meaning
	}
	if f := w.unseenIPsec(total-min(total, packetsOf(lost)), rises[0].xfrmCounter); f != nil && len(found) == 0 {
		f.Evidence = append(f.Evidence, evidence...)
		found = append(found, *f)
	}
	return found
}

func ipsecCommands() []string {
	return []string{"grep -v '\\s0$' /proc/net/xfrm_stat", "ip -s xfrm state; ip -s xfrm policy # on both nodes: the same SPIs, keys and modes?",
		"swanctl --list-sas; ipsec status; cilium-dbg encrypt status # whoever makes the keys"}
}

// unseenIPsec is of packets that IPsec counted as lost and no hook saw on their way, as those that came encrypted; nil if they are few
// beside what came, or was sent.
func (w *window) unseenIPsec(lost uint64, c xfrmCounter) *Finding {
	var passed uint64
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		before := deviceNamed(w.from.Devices, d.Name)
		switch {
		case d.Role != netdev.RoleUplink || !d.Leaves || before == nil:
		case c.sent:
			passed += rise(d.Traffic.TxPackets, before.Traffic.TxPackets)
		default:
			passed += rise(d.Traffic.RxPackets, before.Traffic.RxPackets)
		}
	}
	t := xfrmThreshold
	ratio := float64(lost) / float64(max(1, lost+passed))
	if lost < minSamples || ratio < t.WarnLoss {
		return nil
	}
	f := &Finding{
		Kind: KindDrop, Cause: Encryption, Severity: Warning, Pairs: []Pair{}, Confidence: confidence(float64(lost), 1, w.counts),
		Drops:   &Drops{Packets: lost, Ratio: &ratio, Reason: c.name},
		subject: "IPsec (" + c.name + ")", predicate: "loses " + packets(lost), reason: c.meaning,
		pain: float64(lost) * aggregate.MinRTO / w.seconds(),
		Next: ipsecCommands(),
	}
	if ratio >= t.CriticalLoss && lost >= t.CriticalCount {
		f.Severity = Critical
	}
	return f
}

// handshakeAfter is after how long a WireGuard session is of no use any more (REJECT_AFTER_TIME in drivers/net/wireguard/messages.h):
// a new handshake is tried after two minutes where something is sent.
const handshakeAfter = 3 * time.Minute

// withoutHandshake is of a WireGuard peer that does not shake hands while something is sent to it; nil if it does, or nothing is.
func (w *window) withoutHandshake(p *netdev.Peer) *Finding {
	now := w.to.Taken
	if !p.Handshake.IsZero() && now.Sub(p.Handshake) < handshakeAfter || len(p.Allowed) == 0 {
		return nil
	}
	before := w.peerBefore(p)
	tried := before != nil && p.TxBytes > before.TxBytes && p.RxBytes == before.RxBytes
	var silent []*aggregate.Unanswered
	var hurt uint64
	for i := range w.counts.Unanswered {
		if u := &w.counts.Unanswered[i]; u.Direction != journey.Local && w.wireGuardPeer(u.Destination.Addr()) == p {
			silent = append(silent, u)
			hurt += u.Packets
		}
	}
	dropped := uint64(0)
	if d, old := deviceNamed(w.to.Devices, p.Device), deviceNamed(w.from.Devices, p.Device); d != nil && old != nil {
		dropped = rise(d.Traffic.TxDrops, old.Traffic.TxDrops)
	}
	if !tried && (hurt < minSamples || p.Endpoint.IsValid()) {
		return nil // nothing is sent, or it came through
	}
	since := "never shook hands"
	if !p.Handshake.IsZero() {
		since = "has shaken no hands for " + seconds(now.Sub(p.Handshake).Seconds())
	}
	where := "a peer without an endpoint"
	if p.Endpoint.IsValid() {
		where = "peer " + p.Endpoint.String()
	}
	f := &Finding{
		Kind: KindDrop, Cause: Encryption, Severity: Warning, Stage: journey.Encap, Device: p.Device, Direction: journey.Out, Pairs: []Pair{},
		Confidence: 0.95, subject: "WireGuard's " + where + " at " + p.Device,
		predicate: fmt.Sprintf("%s: nothing gets through to %s", since, prefixes(p.Allowed)),
		Next: []string{"wg show " + p.Device + " # on both nodes: the keys, the latest handshake, the endpoint", "journalctl -k --since -15min | grep -i wireguard",
			"nft list ruleset | grep -nE 'udp.*drop' # on both nodes"},
	}
	if p.Endpoint.IsValid() {
		f.Next = append(f.Next, "ping -c 3 "+p.Endpoint.Addr().String())
	}
	f.Evidence = []string{fmt.Sprintf("%s of %s, with %s behind it, %s; without a handshake in %s nothing can be encrypted for it",
		where, p.Device, prefixes(p.Allowed), since, seconds(handshakeAfter.Seconds()))}
	if tried {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s were sent to it in the window, handshakes that it does not answer, and nothing came from it",
			plural(p.TxBytes-before.TxBytes, "byte")))
	}
	if dropped > 0 && len(w.to.Peers) > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s dropped %s that were to be sent (tx_dropped)", p.Device, packets(dropped)))
	}
	f.Drops = &Drops{Packets: hurt}
	if hurt >= minCritical {
		f.Severity = Critical
		pairs := make([]*aggregate.Pair, len(silent))
		for i, u := range silent {
			pairs[i] = &aggregate.Pair{PairKey: u.PairKey, Service: u.Service}
			f.pain += float64(u.Packets) * aggregate.MinRTO / w.seconds()
		}
		f.Pairs, f.PairsTotal = pairNames(pairs)
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s of pods to it have had no answer", packets(hurt)))
	}
	return f
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
