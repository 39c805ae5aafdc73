package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// unroutedKind is in which way rules, routes and neighbours lost packets.
type unroutedKind struct {
	id    string
	cause Cause
	// name is what is at fault, where that is known: what has one name has one finding, wherever the packets were lost. Without
	// one each stage has its own.
	name string
	rule func(w *window, at aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule
}

// unrouted finds neighbour and no-route, and link-down of pods' devices: the kernel's reason says that there is no way on, and
// its tables why.
func (w *window) unrouted() (found []Finding) {
	lost := w.losses.take(func(d *aggregate.DropCount) bool { return IsOfRouting(d.Reason, d.Location) })
	// IPv6's forwarding, switched off, gives no reason on older kernels.
	rise := w.rises(addressErrors()) - min(w.rises(addressErrors()), packetsOf(lost))
	lost = append(lost, w.losses.takeSome(rise, func(d *aggregate.DropCount) bool {
		return unspecified(d.Reason) && journey.FunctionName(d.Location) == "ip6_forward"
	})...)
	type key struct{ id, name string }
	var order []key
	kinds := map[key]unroutedKind{}
	by := map[key][]aggregate.DropCount{}
	for i := range lost {
		kind := w.unroutedKind(&lost[i])
		k := key{kind.id, kind.name}
		if _, ok := kinds[k]; !ok {
			kinds[k] = kind
			order = append(order, k)
		}
		by[k] = append(by[k], lost[i])
	}
	for _, k := range order {
		kind := kinds[k]
		explain := w.explain
		if kind.name != "" {
			explain = w.explainOnce
		}
		found = append(found, explain(by[k], func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
			r := kind.rule(w, at, lost, w.lookups(lost))
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

// unroutedKind goes by what the kernel's tables say of most of the packets.
func (w *window) unroutedKind(d *aggregate.DropCount) unroutedKind {
	l := record.RouteLookup{}
	if said := w.lookups([]aggregate.DropCount{*d}); len(said) > 0 {
		l = said[0]
	}
	neighbour := MeansNeighbour(d.Reason, d.Location)
	switch {
	case MeansFullTable(d.Reason, d.Location):
		return unroutedKind{"full table", Neighbour, "all", fullTable}
	case d.Reason == record.OtherHost:
		return unroutedKind{"missent", Neighbour, l.Device, missent}
	case meansNoForwardingEntry(d.Reason, d.Location):
		return unroutedKind{"forwarding entry", Neighbour, l.Out + l.LinkAddress, noForwardingEntry}
	case l.Disabled != "":
		return unroutedKind{"forwarding", NoRoute, l.Disabled, notForwarding}
	case neighbour && l.OutIsPod && (l.OutState != "" || l.PeerDown):
		return unroutedKind{"pod's device", LinkDown, l.Out, podDown}
	case neighbour && d.Stage == journey.PodQueue:
		return unroutedKind{"gateway", Neighbour, l.Device, silentGateway}
	case neighbour && l.NextHop.IsValid():
		return unroutedKind{"neighbour", Neighbour, l.NextHop.String() + l.Out, silentNeighbour}
	case neighbour:
		return unroutedKind{"neighbour", Neighbour, "", silentNeighbour}
	}
	return unroutedKind{"route", NoRoute, l.Result + l.Route + l.Rule, noRoute}
}

// lookups are what the kernel's tables say of such losses: of those with the most packets first.
func (w *window) lookups(lost []aggregate.DropCount) (out []record.RouteLookup) {
	for _, l := range w.to.Lookups {
		if slices.ContainsFunc(lost, func(d aggregate.DropCount) bool {
			reason := l.Reason
			if reason == "" {
				reason = journey.NotSpecified
			}
			return d.Reason == reason && d.Location == l.Location && (d.Stage == journey.PodQueue) == l.InPod
		}) {
			out = append(out, l)
		}
	}
	return out
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
func noRoute(w *window, _ aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
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
	case l.Block && l.Route != "": // a CNI discards what goes to addresses of its node's block that no pod has
		r.mild = true
		r.evidence = append(r.evidence, "no pod and no node is known to have that address: CNIs discard so what is sent to pods that have gone")
	case l.Destination.Is6() && l.Route == "" && l.Rule == "": // it is tried first wherever there is an address, and IPv4 then
		r.mild = true
		r.evidence = append(r.evidence, "no pod and no node is known to have that address, and many nodes have no way out for IPv6")
	}
	return r
}

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
	r.next = []string{"sysctl " + l.Disabled, "grep -rs forward /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d # what sets it?"}
	return r
}

// silentNeighbour is of a next hop that does not answer.
func silentNeighbour(w *window, _ aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	r := lossRule{subject: "a next hop without a link address", evidence: []string{"the next hop does not answer to ARP or neighbour discovery"}}
	if unreasoned(lost) {
		r.certainty = byFunction
		r.evidence = append(r.evidence, noReason)
	}
	r.evidence = append(r.evidence, each(said, describeNeighbour)...)
	if len(said) == 0 || !said[0].NextHop.IsValid() {
		return r
	}
	l := &said[0]
	r.subject = fmt.Sprintf("the next hop %v at %s, which does not answer,", l.NextHop, l.Out)
	r.next = []string{
		fmt.Sprintf("ip -s neigh show %v dev %s", l.NextHop, l.Out), fmt.Sprintf("ip -d link show dev %s", l.Out),
		"ip neigh show nud failed nud incomplete # others too?",
	}
	r.mild = l.NextHop == l.Destination && w.goToNobody(lost)
	if r.mild {
		r.evidence = append(r.evidence, "no pod and no node is known to have that address")
	}
	return r
}

// describeNeighbour says what is known of a next hop.
func describeNeighbour(l *record.RouteLookup) string {
	if !l.NextHop.IsValid() {
		return ""
	}
	text := fmt.Sprintf("the next hop of %v is %v at %s; ", l.Destination, l.NextHop, l.Out)
	switch l.Neighbour {
	case "":
		text += "it has no neighbour entry now"
	default:
		text += "its neighbour entry is " + l.Neighbour
	}
	if l.LinkAddress != "" {
		text += " with " + l.LinkAddress
	}
	if l.OutState != "" {
		text += fmt.Sprintf("; %s is %s", l.Out, l.OutState)
	}
	return text
}

// silentGateway is of a pod whose gateway does not answer to it.
func silentGateway(w *window, at aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	r := silentNeighbour(w, at, lost, said)
	r.subject, r.next = "a next hop that does not answer the pod", nil
	if len(said) == 0 {
		return r
	}
	l := &said[0]
	if l.NextHop.IsValid() && l.NextHop == l.Destination {
		r.subject = fmt.Sprintf("%v, which does not answer ARP of the pod behind %s,", l.NextHop, l.Device)
		r.next = inPods(w.endsOf(lost), fmt.Sprintf("ip neigh show %v", l.NextHop))
		return r
	}
	gateway := "gateway"
	if l.NextHop.IsValid() {
		gateway = fmt.Sprintf("gateway %v", l.NextHop)
	}
	r.mild, r.shown = false, l.GatewaySilent != "" || l.Neighbour == "FAILED" || l.Neighbour == "INCOMPLETE"
	r.subject = fmt.Sprintf("the %s of the pod behind %s, which does not answer,", gateway, l.Device)
	r.evidence = append([]string{fmt.Sprintf("the pod's %s does not answer to ARP or neighbour discovery at %s: nothing leaves the pod", gateway, l.Device)},
		each(said, func(l *record.RouteLookup) string { return l.GatewaySilent })...)
	r.evidence = append(r.evidence, each(said, describeNeighbour)...)
	device := strings.ReplaceAll(l.Device, ".", "/")
	switch r.next = []string{fmt.Sprintf("sysctl net.ipv4.conf.%s.proxy_arp net.ipv4.conf.%s.forwarding", device, device)}; {
	case l.NextHop.Is6():
		r.next = []string{"ip -6 addr show dev " + l.Device}
	case l.NextHop.IsValid():
		r.next = append(r.next, fmt.Sprintf("ip%s route get %v # Calico's pods need a default route here", six(l), l.NextHop))
		if strings.Contains(l.GatewaySilent, "route") {
			slices.Reverse(r.next)
		}
	}
	r.next = append(r.next, inPods(w.endsOf(lost), "ip neigh show dev "+podEndName(at.Device))...)
	return r
}

// fullTable is of a neighbour table without room.
func fullTable(_ *window, _ aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	r := lossRule{subject: "the full neighbour table", evidence: []string{"the kernel could not make an entry for their next hop: the neighbour table has no room"}}
	if unreasoned(lost) {
		r.certainty = byFunction
		r.evidence = append(r.evidence, noReason)
	}
	for i := range said {
		t := said[i].Table
		if t == nil {
			continue
		}
		r.subject = fmt.Sprintf("the full neighbour table (%s)", t.Sysctl)
		text := fmt.Sprintf("it holds %s of at most %s entries (%s), of all network namespaces together", group(t.Entries), group(t.Limit), t.Sysctl)
		if t.Fulls > 0 {
			r.certainty = 1
			text += fmt.Sprintf("; it was full %s since the machine started", plural(t.Fulls, "time"))
		}
		r.evidence = append(r.evidence, text)
		cache := "arp_cache"
		if said[i].Destination.Is6() {
			cache = "ndisc_cache"
		}
		r.next = []string{"sysctl " + t.Sysctl, "ip -s ntable show name " + cache, "journalctl -k --since -15min | grep -i 'neighbo.* table overflow'",
			"ip neigh show | awk '{print $3}' | sort | uniq -c # entries of each device"}
		break
	}
	return r
}

// noForwardingEntry is of a tunnel that does not know at which node a MAC is.
func noForwardingEntry(_ *window, at aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	r := lossRule{subject: "a missing forwarding entry of " + at.Device, evidence: []string{"the tunnel does not know to which node such frames go: its forwarding database (FDB) has no entry for the next hop's MAC"}}
	if unreasoned(lost) {
		r.certainty = byFunction
		r.evidence = append(r.evidence, noReason)
	}
	r.next = []string{"bridge fdb show dev " + at.Device}
	missing := slices.DeleteFunc(said, func(l record.RouteLookup) bool { return !l.NoForwardingEntry })
	if len(missing) == 0 {
		return r
	}
	l := &missing[0]
	r.certainty, r.shown = 1, true
	r.evidence = append(r.evidence, each(missing, func(l *record.RouteLookup) string {
		return fmt.Sprintf("the next hop of %v is %v with MAC %s: %s has no forwarding entry for it", l.Destination, l.NextHop, l.LinkAddress, l.Out)
	})...)
	r.next = []string{
		fmt.Sprintf("bridge fdb show dev %s | grep -i %s # nothing: that is the fault", l.Out, l.LinkAddress),
		fmt.Sprintf("ip neigh show %v dev %s", l.NextHop, l.Out), "bridge fdb show dev " + l.Out,
	}
	return r
}

// podDown is of a pod's device without a carrier: the pod's own end of it is down.
func podDown(w *window, _ aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	r := lossRule{evidence: each(said, func(l *record.RouteLookup) string {
		switch {
		case !l.OutIsPod || l.OutState == "" && !l.PeerDown:
			return ""
		case l.PeerDown:
			return fmt.Sprintf("%s, the device of the pod with %v, is %s: the pod's own end of it is down", l.Out, l.NextHop, cmp.Or(l.OutState, "up"))
		}
		return fmt.Sprintf("%s, the device of the pod with %v, is %s", l.Out, l.NextHop, l.OutState)
	})}
	l := &said[0]
	state := "with the pod's end down"
	if l.OutState != "" {
		state = l.OutState
	}
	r.subject = fmt.Sprintf("the pod's device %s, %s,", l.Out, state)
	r.evidence = append(r.evidence, each(said, describeNeighbour)...)
	r.next = []string{"ip -d -s link show dev " + l.Out, fmt.Sprintf("ip neigh show %v dev %s", l.NextHop, l.Out),
		"kubectl get pods -A -o wide --field-selector status.podIP=" + l.Destination.String() + " # its eth0, in the pod: ip link show"}
	r.shown = true
	r.place = &aggregate.StageKey{Stage: journey.Queue, Device: netdev.PodLabel, Direction: journey.In}
	return r
}

// missent is of frames for another MAC than that of who has the packets' address.
func missent(w *window, at aggregate.StageKey, _ []aggregate.DropCount, said []record.RouteLookup) lossRule {
	inPod := at.Stage == journey.Deliver
	r := lossRule{subject: "a wrong MAC", shown: true, evidence: []string{"the frames are for another MAC than that of the device that they came to, the packets in them for a pod of this node"}}
	if inPod {
		r.evidence[0] = "the frames are for another MAC than the pod's own: its kernel takes them for somebody else's"
	}
	if isUplink(w.to.Devices, at.Device) {
		r.threshold = floodedThreshold
	}
	if len(said) == 0 {
		return r
	}
	l := &said[0]
	r.subject = fmt.Sprintf("a wrong MAC in frames to %s", l.Device)
	whose := fmt.Sprintf("%s has %s", l.Device, l.DeviceAddress)
	if inPod {
		whose = fmt.Sprintf("the pod behind %s has %s", l.Device, l.DeviceAddress)
	}
	r.evidence = append(r.evidence, fmt.Sprintf("the frames are for %s; %s", l.FrameAddress, whose))
	switch {
	case inPod && l.LinkAddress != "":
		r.evidence = append(r.evidence, fmt.Sprintf("this node's neighbour entry of %v at %s is %s, %s", l.NextHop, l.Out, l.LinkAddress, l.Neighbour))
		r.next = []string{fmt.Sprintf("ip neigh show %v dev %s", l.NextHop, l.Out)}
	case inPod:
		r.next = []string{"ip neigh show | grep -i " + l.FrameAddress, "bridge fdb show | grep -i " + l.FrameAddress}
	default:
		r.evidence = append(r.evidence, "who sends them goes by an old MAC of "+l.Device+", or by a wrong entry")
		r.next = []string{"ip -d link show dev " + l.Device,
			fmt.Sprintf("ip neigh show | grep -i %s; bridge fdb show | grep -i %s # on the nodes that send", l.FrameAddress, l.FrameAddress)}
	}
	if inPod {
		r.next = append(r.next, fmt.Sprintf("kubectl exec POD -- ip link show # the pod that has %v", l.Destination))
	}
	return r
}

func isUplink(devices []netdev.Device, label string) bool {
	return slices.ContainsFunc(devices, func(d netdev.Device) bool { return d.Role == netdev.RoleUplink && d.Role.Label(d.Name) == label })
}
