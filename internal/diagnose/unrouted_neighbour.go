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
		fmt.Sprintf("ip -s neigh show %v dev %s", l.NextHop, shellWord(l.Out)), fmt.Sprintf("ip -d link show dev %s", shellWord(l.Out)),
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
	settings := "net.ipv4.conf." + strings.ReplaceAll(l.Device, ".", "/")
	switch r.next = []string{fmt.Sprintf("sysctl %s %s", shellWord(settings+".proxy_arp"), shellWord(settings+".forwarding"))}; {
	case l.NextHop.Is6():
		r.next = []string{"ip -6 addr show dev " + shellWord(l.Device)}
	case l.NextHop.IsValid():
		r.next = append(r.next, fmt.Sprintf("ip%s route get %v # Calico's pods need a default route here", six(l), l.NextHop))
		if strings.Contains(l.GatewaySilent, "route") {
			slices.Reverse(r.next)
		}
	}
	r.next = append(r.next, inPods(w.endsOf(lost), "ip neigh show dev "+shellWord(podEndName(at.Device)))...)
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
	r.next = []string{"bridge fdb show dev " + shellWord(at.Device)}
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
		fmt.Sprintf("bridge fdb show dev %s | grep -i %s # nothing: that is the fault", shellWord(l.Out), l.LinkAddress),
		fmt.Sprintf("ip neigh show %v dev %s", l.NextHop, shellWord(l.Out)), "bridge fdb show dev " + shellWord(l.Out),
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
	r.next = []string{"ip -d -s link show dev " + shellWord(l.Out), fmt.Sprintf("ip neigh show %v dev %s", l.NextHop, shellWord(l.Out)),
		"kubectl get pods -A -o wide --field-selector status.podIP=" + l.Destination.String() + " # its eth0, in the pod: ip link show"}
	r.shown = true
	r.place = &aggregate.StageKey{Stage: journey.Queue, Device: netdev.PodLabel, Direction: journey.In}
	return r
}

// missent is of frames for another MAC than that of who has the packets' address.
func missent(w *window, at aggregate.StageKey, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	inPod := at.Stage == journey.Deliver
	if !inPod && at.Device == netdev.PodLabel {
		return missentByPod(w, lost, said)
	}
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
		r.next = []string{fmt.Sprintf("ip neigh show %v dev %s", l.NextHop, shellWord(l.Out))}
	case inPod:
		r.next = []string{"ip neigh show | grep -i " + l.FrameAddress, "bridge fdb show | grep -i " + l.FrameAddress}
	default:
		r.evidence = append(r.evidence, "who sends them goes by an old MAC of "+l.Device+", or by a wrong entry")
		r.next = []string{"ip -d link show dev " + shellWord(l.Device),
			fmt.Sprintf("ip neigh show | grep -i %s; bridge fdb show | grep -i %s # on the nodes that send", l.FrameAddress, l.FrameAddress)}
	}
	if inPod {
		r.next = append(r.next, fmt.Sprintf("kubectl exec POD -- ip link show # the pod that has %v", l.Destination))
	}
	return r
}

// missentByPod is of frames that a pod sends to another MAC than that of its gateway: its device's end on this node.
func missentByPod(w *window, lost []aggregate.DropCount, said []record.RouteLookup) lossRule {
	r := lossRule{subject: "a wrong MAC in what a pod sends", shown: true, evidence: []string{
		"the pod's frames are for another MAC than that of its device on this node, which alone is behind them: the node takes them for somebody else's",
	}}
	if len(said) > 0 {
		l := &said[0]
		r.subject = fmt.Sprintf("a wrong MAC in frames from the pod behind %s", l.Device)
		r.evidence = append(r.evidence, fmt.Sprintf("the frames are for %s; %s has %s", l.FrameAddress, l.Device, l.DeviceAddress),
			"the pod goes by a wrong or old neighbour entry of its gateway")
		r.next = []string{"ip link show dev " + shellWord(l.Device)}
	}
	r.next = append(inPods(w.endsOf(lost), "ip neigh show"), r.next...)
	return r
}

func isUplink(devices []netdev.Device, label string) bool {
	return slices.ContainsFunc(devices, func(d netdev.Device) bool { return d.Role == netdev.RoleUplink && d.Role.Label(d.Name) == label })
}
