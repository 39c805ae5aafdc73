package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// encryptionRules find encryption: IPsec and WireGuard (wireguard.go) that cannot encrypt or decrypt, since the two ends do not agree.
// They go before policy, as the kernel's reason is the same where a policy forbids a packet and where none can be kept to.
func encryptionRules(w *window) []Finding {
	return append(ipsecRules(w), wireguardRules(w)...)
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
