package diagnose

import (
	"fmt"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// policyRules find policy-drop, packets that a rule or policy dropped, and conntrack-full, those for which the connection
// table had no room, which look the same from outside.
func policyRules(w *window) []Finding {
	return append(w.conntrackFull(), w.policyDrops()...)
}

// conntrackFull takes as many of netfilter's drops as the connection table has counted for want of an entry. Those that
// raced for one entry are counted there too, and are no sign of a full table.
func (w *window) conntrackFull() []Finding {
	t, ok := w.conntrack()
	full := t.Drop - min(t.Drop, t.InsertFailed)
	if !ok || full == 0 {
		return nil
	}
	lost := w.losses.takeSome(full, func(d *aggregate.DropCount) bool {
		return journey.FunctionName(d.Location) == "nf_hook_slow" && (d.Reason == "NETFILTER_DROP" || d.Reason == journey.NotSpecified)
	})
	size := fmt.Sprintf("this namespace's table holds %s entries", group(t.Entries))
	if t.Max > 0 {
		size = fmt.Sprintf("this namespace's table holds %s of at most %s entries", group(t.Entries), group(t.Max))
	}
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossRule {
		return lossRule{
			cause: ConntrackFull, subject: "the full connection table", threshold: conntrackThreshold, certainty: 1,
			evidence: []string{fmt.Sprintf("conntrack dropped %s because the table had no free entry and evicted %s early; %s",
				packets(full), plural(t.EarlyDrop, "connection"), size)},
		}
	})
}

func (w *window) policyDrops() []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return policyOf(d) != "" })
	return w.explain(lost, func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
		r := lossRule{cause: PolicyDrop, subject: "a netfilter rule", threshold: policyThreshold, certainty: 1}
		switch policy := policyOf(&lost[0]); policy {
		case "tc ingress", "tc egress":
			way := strings.TrimPrefix(policy, "tc ")
			device := at.Device
			if device == netdev.PodLabel || device == "" {
				device = "DEVICE"
			}
			r.subject = "a tc filter or policer at " + at.Device
			r.evidence = []string{fmt.Sprintf("a filter, policer or program at tc's %s hook dropped them", way)}
			r.next = []string{fmt.Sprintf("tc -s filter show dev %s %s", device, way)}
			if isInPod(at.Device) {
				r.subject = "a tc filter or policer in the pod"
				r.next = inPods(w.endsOf(lost), fmt.Sprintf("tc -s filter show dev %s %s", podEndName(at.Device), way))
			}
		case "netfilter":
			if isInPod(at.Device) {
				r.subject = "a netfilter rule in the pod"
				r.evidence = []string{"a netfilter rule (nft, iptables) in the pod's own network namespace dropped them"}
				r.next = inPods(w.endsOf(lost), "nft list ruleset", "iptables-save -c")
				break
			}
			r.evidence = []string{"a netfilter rule (nft, iptables, a network policy, kube-proxy) dropped them"}
			if t, ok := w.conntrack(); ok && t.InsertFailed > 0 {
				r.evidence = append(r.evidence, fmt.Sprintf("up to %s of them may have lost a race for an entry of the connection table", packets(t.InsertFailed)))
			}
		default:
			r.subject = "a policy (" + policy + ")"
			r.evidence = []string{"a program or policy of this kind dropped them: " + policy}
			r.next = []string{"bpftool net show", "bpftool cgroup tree", "ip xfrm policy"}
		}
		if lost[0].Reason == journey.NotSpecified {
			r.certainty = byFunction
			r.evidence = append(r.evidence, noReason)
		}
		return r
	})
}

// byFunction is how surely the function that freed a packet means a cause, where the kernel gives no reason.
const byFunction = 0.6

// noReason is evidence of it.
const noReason = "the kernel gives no drop reason: the cause is taken from the function that freed the packets"

// policyOf is what kind of rule dropped packets; "" if none did.
func policyOf(d *aggregate.DropCount) string {
	switch d.Reason {
	case "NETFILTER_DROP":
		return "netfilter"
	case "TC_INGRESS":
		return "tc ingress"
	case "TC_EGRESS":
		return "tc egress"
	case "TC_COOKIE_ERROR", "TC_CHAIN_NOTFOUND", "TC_RECLASSIFY_LOOP":
		return "tc " + map[bool]string{true: "egress", false: "ingress"}[d.Direction == journey.Out && d.Device != netdev.PodLabel]
	case "XDP":
		return "XDP"
	case "BPF_CGROUP_EGRESS":
		return "a BPF program of a cgroup"
	case "XFRM_POLICY":
		return "XFRM"
	case "", journey.NotSpecified:
		switch journey.FunctionName(d.Location) {
		case "nf_hook_slow", "nft_do_chain", "nf_hook", "nf_hook_slow_list":
			return "netfilter"
		case "__netif_receive_skb_core":
			if d.Stage == journey.Forward { // behind our hook, tc's verdict is the first that can be
				return "tc ingress"
			}
		case "sch_handle_egress":
			return "tc egress"
		}
	}
	return ""
}
