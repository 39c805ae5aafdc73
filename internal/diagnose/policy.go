package diagnose

import (
	"fmt"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// policyCauses are packets that somebody's rule threw away, and those for which the connection table had no room, which
// look the same from outside.
func policyCauses(w *window) []Finding {
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
	size := fmt.Sprintf("this namespace's connection table holds %s entries", group(t.Entries))
	if t.Max > 0 {
		size = fmt.Sprintf("this namespace's connection table holds %s of at most %s entries", group(t.Entries), group(t.Max))
	}
	return w.explain(lost, func(aggregate.StageKey, []aggregate.DropCount) lossCause {
		return lossCause{
			cause: ConntrackFull, subject: "the full connection table", warning: 0.001, critical: 0.01, certainty: 1,
			evidence: []string{fmt.Sprintf("conntrack dropped %s for want of an entry, and %s to make room; %s",
				packets(full), plural(t.EarlyDrop, "old entry"), size)},
			next: []string{"cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max", "conntrack -S"},
		}
	})
}

func (w *window) policyDrops() []Finding {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return policyOf(d) != "" })
	return w.explain(lost, func(at aggregate.StageKey, lost []aggregate.DropCount) lossCause {
		c := lossCause{cause: PolicyDrop, subject: "a netfilter rule", warning: 0.005, critical: 0.02, certainty: 1}
		switch policyOf(&lost[0]) {
		case "tc ingress", "tc egress":
			way := strings.TrimPrefix(policyOf(&lost[0]), "tc ")
			device := at.Device
			if device == journey.PodLabel || device == "" {
				device = "DEVICE"
			}
			c.subject = "a tc filter or policer at " + at.Device
			c.evidence = []string{fmt.Sprintf("a filter, policer or program on tc's %s hook threw them away", way)}
			c.next = []string{fmt.Sprintf("tc -s filter show dev %s %s", device, way)}
		case "netfilter":
			c.evidence = []string{"a rule of netfilter (nft, iptables, a network policy, kube-proxy) threw them away"}
			if t, ok := w.conntrack(); ok && t.InsertFailed > 0 {
				c.evidence = append(c.evidence, fmt.Sprintf("among them may be %s that raced for one entry of the connection table", packets(t.InsertFailed)))
			}
			c.next = []string{"nft list ruleset | grep -nE 'drop|reject'", "iptables-save -c | grep -E 'DROP|REJECT'"}
		default:
			c.subject = "a policy (" + policyOf(&lost[0]) + ")"
			c.evidence = []string{"a program or policy of this kind threw them away: " + policyOf(&lost[0])}
			c.next = []string{"bpftool net show", "bpftool cgroup tree", "ip xfrm policy"}
		}
		if lost[0].Reason == journey.NotSpecified {
			c.certainty = 0.6
			c.evidence = append(c.evidence, "this kernel gives no reason: the place where it freed the packets tells")
		}
		return c
	})
}

// policyOf is whose rule threw packets away; "" if none did.
func policyOf(d *aggregate.DropCount) string {
	switch d.Reason {
	case "NETFILTER_DROP":
		return "netfilter"
	case "TC_INGRESS":
		return "tc ingress"
	case "TC_EGRESS":
		return "tc egress"
	case "TC_COOKIE_ERROR", "TC_CHAIN_NOTFOUND", "TC_RECLASSIFY_LOOP":
		return "tc " + map[bool]string{true: "egress", false: "ingress"}[d.Direction == journey.Out && d.Device != journey.PodLabel]
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
