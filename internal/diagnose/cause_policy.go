package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// policyRules find policy-drop, packets that a rule or policy dropped, and what looks the same from outside: conntrack-full,
// packets for which the connection table had no room, and conntrack-insert-failed, those whose entry clashed with another.
func policyRules(w *window) []Finding {
	return slices.Concat(w.conntrackFull(), w.conntrackInsertFailed(), w.policed(w.beyondHorizon(w.policyDrops())))
}

// policyDrops makes findings for each kind of rule of its own: what they are called and where to look differ.
func (w *window) policyDrops() (found []Finding) {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return policyOf(d) != "" })
	byPolicy := make(map[string][]aggregate.DropCount)
	for _, d := range lost {
		byPolicy[policyOf(&d)] = append(byPolicy[policyOf(&d)], d)
	}
	for _, policy := range slices.Sorted(maps.Keys(byPolicy)) {
		found = append(found, w.explain(byPolicy[policy], func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
			r := w.policyRule(policy, at, lost)
			if w.anyServiceIsEmpty() {
				r.only = func(h *hit) bool { // the others are endpointsRules'
					service, _ := w.emptyService(at, h)
					return service == ""
				}
			}
			if unreasoned(lost) && policy != nfqueue {
				r.certainty = byFunction
				r.evidence = append(r.evidence, noReason)
			}
			return r
		})...)
	}
	return found
}

// policyRule says what kind of rule drops packets, and by which commands it is found.
func (w *window) policyRule(policy string, at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
	r := lossRule{cause: PolicyDrop, threshold: policyThreshold, certainty: 1, subject: "a policy (" + policy + ")"}
	r.evidence = []string{"a program or policy of this kind dropped them: " + policy}
	switch policy {
	case tcIngress, tcEgress:
		way := strings.TrimPrefix(policy, "tc ")
		if isInPod(at.Device) {
			r.subject = "a tc filter or policer in the pod"
			r.evidence = []string{fmt.Sprintf("a filter, policer or program at the %s hook of tc in the pod dropped them", way)}
			r.next = inPods(w.endsOf(lost), fmt.Sprintf("tc -s filter show dev %s %s", shellWord(podEndName(at.Device)), way))
			break
		}
		w.tcRule(&r, way, at.Device)
	case "netfilter", nfqueue:
		w.netfilterRule(&r, policy, at, lost)
	case "XDP":
		r.next = []string{"bpftool net show", "ip -d link show | grep -B1 xdp"}
	case "XFRM":
		r.next = []string{"ip -s xfrm policy", "grep -v '\\s0$' /proc/net/xfrm_stat"}
	default:
		r.next = []string{"bpftool cgroup tree"}
	}
	return r
}

// netfilterRule fills in which rule of netfilter lost packets, and how it is found.
func (w *window) netfilterRule(r *lossRule, policy string, at aggregate.StageKey, lost []aggregate.DropCount) {
	inPod := isInPod(at.Device)
	r.subject, r.evidence = "a netfilter rule", []string{"a netfilter rule (nft, iptables, a network policy, kube-proxy) dropped them"}
	if inPod {
		r.subject, r.evidence = "a netfilter rule in the pod", []string{"a netfilter rule (nft, iptables) in the pod's own network namespace dropped them"}
	}
	blame := w.blameAt(at, w.hits(lost))
	if subject := blame.subject(); subject != "" {
		if r.subject = subject; inPod {
			r.subject += " in the pod"
		}
	}
	r.next = blame.show()
	if policy == nfqueue {
		full := slices.ContainsFunc(lost, func(d aggregate.DropCount) bool {
			return strings.Contains(journey.FunctionName(d.Location), "nf_queue")
		})
		r.subject, r.evidence = blame.describeQueue(full)
		r.next = append([]string{"cat /proc/net/netfilter/nfnetlink_queue"}, r.next...)
	}
	r.evidence = append(r.evidence, blame.describe()...)
	switch {
	case inPod:
		if len(r.next) == 0 {
			r.next = []string{"nft list ruleset", "iptables-save -c"}
		}
		r.next = inPods(w.podsBehind(&blame, lost), r.next...)
	default:
		if t, ok := w.conntrack(); ok && t.InsertFailed > 0 && policy != nfqueue {
			r.evidence = append(r.evidence, fmt.Sprintf("up to %s of them may have lost a race for an entry of the connection table", packets(t.InsertFailed)))
		}
	}
}

// podsBehind are the devices of the pods in which packets were lost: the one whose rules were read, or else those whose ends are
// known.
func (w *window) podsBehind(b *blame, lost []aggregate.DropCount) []netdev.Device {
	if b.set != nil && b.set.Netns != 0 {
		for _, d := range w.to.Devices {
			if d.Index == b.set.Ifindex {
				d.PodEnd = &netdev.PodEnd{Netns: b.set.Netns}
				return []netdev.Device{d}
			}
		}
	}
	return w.endsOf(lost)
}

// tcRule fills in what drops packets at a device's tc hook: a program at tcx, or what hangs on its clsact qdisc, if it has
// one.
func (w *window) tcRule(r *lossRule, way, label string) {
	device, where, of := shellWord(label), label, " dev "+shellWord(label)
	switch label {
	case netdev.PodLabel:
		device, where, of = "DEVICE", "a pod's device", ""
	case "":
		device, where, of = "DEVICE", "a device", ""
	}
	what := "BPF program"
	r.next = []string{"bpftool net show" + of}
	devices := labelled(w.to.Devices, label)
	if len(devices) == 0 || slices.ContainsFunc(devices, func(d netdev.Device) bool { return d.Clsact }) {
		what = "tc filter, policer or BPF program"
		r.next = append([]string{fmt.Sprintf("tc -s filter show dev %s %s", device, way)}, r.next...)
	}
	r.subject = "a " + what + " at " + where
	r.evidence = []string{fmt.Sprintf("a %s at the %s hook of tc dropped them", what, way)}
	if slices.ContainsFunc(w.to.Devices, isCiliums) {
		r.evidence = append(r.evidence, "Cilium is on this node: its programs drop there what a network policy does not allow")
		r.next = append([]string{"cilium-dbg monitor --type drop # in this node's cilium pod"}, r.next...)
	}
}

// isCiliums tells whether Cilium made a device: it calls pods' devices lxc… and its own cilium_….
func isCiliums(d netdev.Device) bool {
	return strings.HasPrefix(d.Name, "cilium_") || d.Role == netdev.RolePod && strings.HasPrefix(d.Name, "lxc")
}

// byFunction is how surely the function that freed a packet means a cause, where the kernel gives no reason.
const byFunction = 0.6

// unreasoned tells whether the kernel gave no reason for most of the losses.
func unreasoned(lost []aggregate.DropCount) bool { return mainReason(lost) == journey.NotSpecified }

// noReason is evidence of it.
const noReason = "the kernel gives no drop reason: the cause is taken from the function that freed the packets"

// nfqueue is the kind of a rule of netfilter that hands packets to user space.
const nfqueue = "NFQUEUE"

// The kinds of rules at tc's hooks.
const tcIngress, tcEgress = "tc ingress", "tc egress"

// policyOf is what kind of rule dropped packets; "" if none did.
func policyOf(d *aggregate.DropCount) string {
	switch d.Reason {
	case "NETFILTER_DROP":
		return "netfilter"
	case "TC_INGRESS":
		return tcIngress
	case "TC_EGRESS":
		return tcEgress
	case "TC_COOKIE_ERROR", "TC_CHAIN_NOTFOUND", "TC_RECLASSIFY_LOOP":
		if d.Direction == journey.Out && d.Device != netdev.PodLabel {
			return tcEgress
		}
		return tcIngress
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
		case "nf_queue", "__nf_queue", "nf_reinject", "nfqnl_reinject", "nfqnl_flush", "nfqnl_recv_verdict", "nfqnl_recv_verdict_batch":
			return nfqueue
		case "__netif_receive_skb_core":
			if d.Stage == journey.Forward { // behind our hook, tc's verdict is the first that can be
				return tcIngress
			}
		case "sch_handle_egress":
			return tcEgress
		}
	}
	return ""
}
