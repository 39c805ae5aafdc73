package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// unrouted finds neighbour and no-route, and link-down of pods' devices: the kernel's reason says that there is no way on, and
// its tables why.
func (w *window) unrouted() (found []Finding) {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return IsOfRouting(d.Reason, d.Location) })
	// IPv6's forwarding, switched off, gives no reason on older kernels.
	rise := w.rises(addressErrors()) - min(w.rises(addressErrors()), packetsOf(lost))
	lost = append(lost, w.losses.takeSome(rise, func(d *aggregate.DropCount) bool {
		return unspecified(d.Reason) && journey.FunctionName(d.Location) == "ip6_forward"
	})...)
	var order []unroutedKey
	by := map[unroutedKey][]unroutedPart{}
	for i := range lost {
		for _, part := range w.unroutedParts(&lost[i]) {
			k := part.kind.key()
			if by[k] == nil {
				order = append(order, k)
			}
			by[k] = append(by[k], part)
		}
	}
	for _, k := range order {
		kind := by[k][0].kind
		of := w.onlyThose(by[k])
		explain := of.explain
		if kind.name != "" {
			explain = of.explainOnce
		}
		found = append(found, explain(lostOf(by[k]), func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
			r := kind.rule(of, at, lost, of.lookups(lost, k))
			r.cause = kind.cause
			if r.threshold == (Threshold{}) {
				r.threshold = routingThreshold
			}
			if r.certainty == 0 {
				r.certainty = 1
			}
			return r
		})...)
	}
	return found
}

// addressErrors are the kernel's counters of packets that it would not route.
func addressErrors() []string {
	return []string{"IpExtInNoRoutes", "IpOutNoRoutes", "Ip6InNoRoutes", "Ip6OutNoRoutes", "IpInAddrErrors", "Ip6InAddrErrors"}
}

// each says something of each of the look-ups, and nothing twice.
func each(said []record.RouteLookup, say func(*record.RouteLookup) string) (out []string) {
	for i := range said {
		if text := say(&said[i]); text != "" && !slices.Contains(out, text) && len(out) < maxLines {
			out = append(out, text)
		}
	}
	return out
}

// noRoute is of a missing route, one that leads nowhere, or a rule that does.
func noRoute(w *window, at aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	if at.Stage == journey.Deliver && len(said) > 0 && said[0].OutIsPod {
		return noRouteInPod(lost, &said[0])
	}
	r := lossRule{
		subject:  "a missing or blackhole route",
		evidence: append([]string{"there is no route to their destination, or one that discards them (blackhole, unreachable, prohibit)"}, w.risen(addressErrors())...),
	}
	refused := slices.DeleteFunc(slices.Clone(said), func(l record.RouteLookup) bool { return l.Result == "" })
	if unreasoned(lost) {
		r.certainty = byFunction
		r.evidence = append(r.evidence, noReason)
		if len(refused) > 0 {
			r.certainty = 0.9
		}
	}
	r.evidence = append(r.evidence, each(refused, describeRefusal)...)
	if len(refused) == 0 {
		if len(said) > 0 { // there is one again
			r.next = next(NoRoute, "DESTINATION", said[0].Destination.String())
		}
		return r
	}
	l := &refused[0]
	show := fmt.Sprintf("ip%s route show table all match %v", six(l), l.Destination)
	switch {
	case l.Route == "" && l.Rule != "":
		r.subject = fmt.Sprintf("the rule %q of policy routing", l.Rule)
		r.next = []string{fmt.Sprintf("ip%s rule show", six(l)), show}
	case l.Route != "":
		r.subject = fmt.Sprintf("the route %q", l.Route)
		r.next = []string{show + " # the longest prefix decides"}
		if l.Rule != "" {
			r.next = append(r.next, fmt.Sprintf("ip%s rule show", six(l)))
		}
		if l.Result == "blackhole" {
			r.next = append(r.next, fmt.Sprintf("ip%s route get %v # says \"Invalid argument\", which is how a blackhole answers", six(l), l.Destination))
		}
	default:
		r.subject = fmt.Sprintf("a missing route to %v", l.Destination)
		r.next = []string{fmt.Sprintf("ip%s route get %v", six(l), l.Destination), show, fmt.Sprintf("ip%s rule show", six(l))}
	}
	switch nobody := w.goToNobody(lost); {
	case !nobody:
	case l.Block && l.Route != "" && !ofDefault(l.Route): // a CNI discards what goes to addresses of its node's block that no pod has
		r.mild = true
		r.evidence = append(r.evidence, "no pod and no node is known to have that address: CNIs discard so what is sent to pods that have gone")
	case l.Destination.Is6() && (l.Route == "" || ofDefault(l.Route)) && l.Rule == "": // it is tried first wherever there is an address, and IPv4 then
		r.mild = true
		r.evidence = append(r.evidence, "no pod and no node is known to have that address, and many nodes have no way out for IPv6")
	}
	return r
}

// noRouteInPod is of packets that this node's tables lead to a pod, in which they are lost.
func noRouteInPod(lost []aggregate.DropCount, l *record.RouteLookup) lossRule {
	r := lossRule{
		subject:  fmt.Sprintf("the pod behind %s, which has not the address %v or no route for it,", l.Out, l.Destination),
		evidence: []string{fmt.Sprintf("this node passes them to the pod by %s; in the pod's own tables the address %v is missing, or a route discards what is for it", l.Out, l.Destination)},
		next:     inPods([]netdev.Device{{Name: l.Out}}, "ip addr show", fmt.Sprintf("ip%s route get %v", six(l), l.Destination)),
	}
	if unreasoned(lost) {
		r.certainty = byFunction
		r.evidence = append(r.evidence, noReason)
	}
	return r
}

// ofDefault tells whether a route, as ip route shows it, is the default one.
func ofDefault(route string) bool { return slices.Contains(strings.Fields(route), "default") }

// describeRefusal says which rule or route refuses packets.
func describeRefusal(l *record.RouteLookup) string {
	text := fmt.Sprintf("the routing table says of %v: %s", l.Destination, l.Result)
	if l.Route != "" {
		text += fmt.Sprintf(" (the entry %q)", l.Route)
	}
	switch {
	case l.Rule == "":
		return text
	case l.Source.IsValid():
		return text + fmt.Sprintf(", by the rule %q for packets from %v", l.Rule, l.Source)
	}
	return text + fmt.Sprintf(", by the rule %q", l.Rule)
}

// six is the option of ip(8) for IPv6.
func six(l *record.RouteLookup) string {
	if l.Destination.Is6() {
		return " -6"
	}
	return ""
}

// goToNobody tells whether nobody of the cluster is known behind the addresses that lost packets were sent to, where others are
// known.
func (w *window) goToNobody(lost []aggregate.DropCount) bool {
	known := slices.ContainsFunc(w.counts.Pairs, func(p aggregate.Pair) bool { return p.SrcNamespace != "" })
	return known && !slices.ContainsFunc(w.hits(lost), func(h hit) bool { return h.Service != "" || inCluster(h.DstNamespace, h.DstWorkload) })
}

// notForwarding is of a node that forwards nothing.
func notForwarding(w *window, _ aggregate.StageKey, _ []aggregate.DropCount, said []record.RouteLookup) lossRule {
	l := &said[0]
	r := lossRule{subject: l.Disabled + " = 0", shown: true}
	r.evidence = append([]string{fmt.Sprintf("%s is 0: this node forwards nothing that comes in by %s", l.Disabled, l.Device)}, w.risen(addressErrors())...)
	r.evidence = append(r.evidence, each(said, func(l *record.RouteLookup) string { return l.GatewaySilent })...)
	r.next = []string{"sysctl " + shellWord(l.Disabled), "grep -rs forward /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d # what sets it?"}
	return r
}
