package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// answersNotTranslated are answers from pod to pod of this node that came with the pod's own address, where a Service was asked: a
// bridge between them passed them on without netfilter. TCP refuses them (RST), UDP lets them go.
func answersNotTranslated(w *window) *Finding {
	var hit []*aggregate.Pair
	var lost uint64
	for i := range w.counts.Pairs {
		if p := &w.counts.Pairs[i]; p.BareAnswers.Packets >= minSamples && w.lasts(p.BareAnswers.Seconds, minSamples) {
			hit = append(hit, p)
			lost += p.BareAnswers.Packets
		}
	}
	if len(hit) == 0 {
		return nil
	}
	slices.SortStableFunc(hit, func(x, y *aggregate.Pair) int { return cmp.Compare(y.BareAnswers.Packets, x.BareAnswers.Packets) })
	worst := hit[0].BareAnswers
	f := &Finding{
		Kind: KindDrop, Cause: NotTranslated, Severity: Warning, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: journey.Local,
		Drops: &Drops{Packets: lost, Ratio: new(1.0)},
		Next: []string{
			"sysctl net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables # 1 is needed; no such file: modprobe br_netfilter",
			fmt.Sprintf("ip route get %v # by a bridge?", worst.Server.Addr()),
			"bridge link show",
		},
		pain: float64(lost) * initialRTO / w.seconds(),
	}
	if lost > maxStrays || lost >= minCritical && worst.Seconds >= noAnswerThreshold.CriticalSeconds {
		f.Severity = Critical
	}
	f.Pairs, f.PairsTotal = pairNames(hit)
	f.subject = "answers of " + f.Pairs[0].Src
	f.predicate = fmt.Sprintf("come to %s from %v, and not from %v that it asked: %s met no socket", f.Pairs[0].Dst, worst.Server, worst.Asked, packets(lost))
	f.Confidence = confidence(float64(lost), 1, w.counts)
	f.Evidence = append([]string{
		fmt.Sprintf("NAT sent what the client sent to %v to %v, and did not translate the answers back; the client refuses them (RST)", worst.Asked, worst.Server),
		"both pods are on this node: a bridge passes frames from one to the other without netfilter where net.bridge.bridge-nf-call-iptables is 0 or br_netfilter is not loaded",
	}, missedEvidence(w.counts)...)
	return f
}
