package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// routingCause is a way in which routing loses packets, and by what it is known.
type routingCause struct {
	cause   Cause
	subject string
	reasons []string // the kernel's drop reasons that mean it
	// functions free a packet for nothing else: they tell where the kernel gives no reason. Those of shared do so for several
	// reasons, and tell if one of the kernel's counters rose meanwhile.
	functions, shared []string
	counters          []string
	threshold         Threshold
	explanation       string
}

// noRouteFunctions free what no route leads on for, or what one discards.
var noRouteFunctions = [...]string{
	"ip_error", "dst_discard", "dst_discard_out", "dst_blackhole_output", "ip6_pkt_drop", "ip6_pkt_discard", "ip6_pkt_discard_out",
	"ip6_pkt_prohibit", "ip6_pkt_prohibit_out",
}

// fullTableFunctions free what found no room for its next hop in the neighbour table.
var fullTableFunctions = [...]string{"ip_finish_output2", "ip6_finish_output2"}

// forwardingEntryFunctions free what a tunnel has no forwarding entry for.
var forwardingEntryFunctions = [...]string{"vxlan_xmit"}

// meansNoRoute tells whether reason or, without one, function mean that no route led on.
func meansNoRoute(reason, location string) bool {
	switch reason {
	case "IP_OUTNOROUTES", "IP_INNOROUTES", "IP_INADDRERRORS", "IP_INVALID_DEST", "IP6_INNOROUTES":
		return true
	}
	return unspecified(reason) && slices.Contains(noRouteFunctions[:], journey.FunctionName(location))
}

// MeansNeighbour tells whether a packet was lost since its next hop did not answer.
func MeansNeighbour(reason, location string) bool {
	switch reason {
	case "NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD", "NEIGH_HH_FILLFAIL":
		return true
	}
	return unspecified(reason) && journey.FreesForNeighbour(location)
}

// MeansFullTable tells whether a packet was lost since the neighbour table had no room for its next hop.
func MeansFullTable(reason, location string) bool {
	return reason == "NEIGH_CREATEFAIL" || unspecified(reason) && slices.Contains(fullTableFunctions[:], journey.FunctionName(location))
}

func meansNoForwardingEntry(reason, location string) bool {
	return reason == "NO_TX_TARGET" || unspecified(reason) && slices.Contains(forwardingEntryFunctions[:], journey.FunctionName(location))
}

// IsOfRouting tells of a lost packet whether rules, routes and neighbours, as the kernel's tables have them, say more of it.
func IsOfRouting(reason, location string) bool {
	return meansNoRoute(reason, location) || MeansNeighbour(reason, location) || MeansFullTable(reason, location) ||
		meansNoForwardingEntry(reason, location) || reason == record.OtherHost
}

// routingCauses are what routing can do to packets. Functions are those of net/ipv4, net/ipv6 and net/core.
func routingCauses() []routingCause {
	return []routingCause{
		{
			cause: MTU, subject: "a device whose MTU is too small", threshold: mtuThreshold,
			reasons:     []string{"PKT_TOO_BIG", "IP_FRAG_FAILED"},
			functions:   []string{"ip_fragment", "ip_do_fragment", "ip6_fragment", "ip6_pkt_too_big"},
			shared:      []string{"ip_forward", "ip6_forward", "ip_finish_output", "ip6_finish_output", "ip_tunnel_xmit", "vxlan_xmit_one", "geneve_xmit"},
			counters:    []string{"IpFragFails", "Ip6FragFails", "Ip6InTooBigErrors", "Ip6OutFragFails"},
			explanation: "packets that must not be fragmented are larger than the next device's MTU",
		},
		{
			cause: TTL, subject: "a routing loop, or too small a TTL,", threshold: ttlThreshold,
			reasons:     []string{"IP_INHDR"},
			shared:      []string{"ip_forward", "ip6_forward"},
			counters:    []string{"IpInHdrErrors", "Ip6InHdrErrors"},
			explanation: "their TTL or hop limit ended here: a routing loop, or a sender that sets it too low",
		},
		{
			cause: RPFilter, subject: "the reverse path filter", threshold: routingThreshold,
			reasons:     []string{"IP_RPFILTER", "IP_LOCAL_SOURCE", "IP_INVALID_SOURCE", "IP_LOCALNET"},
			shared:      []string{"ip_rcv_finish_core", "ip_rcv_finish", "ip_route_input_noref", "ip_route_input_slow"},
			counters:    []string{"TcpExtIPReversePathFilter"},
			explanation: "the route back to their source is not through the device where they arrived",
		},
	}
}

// routingRules find mtu, ttl, rp-filter, neighbour and no-route: packets that could not be routed on.
func routingRules(w *window) []Finding {
	var found []Finding
	for _, rule := range routingCauses() {
		rise := w.rises(rule.counters)
		lost := w.losses.take(rule.explains)
		lost = append(lost, w.losses.takeSome(rise-min(rise, packetsOf(lost)), rule.mayExplain)...)
		found = append(found, w.explain(lost, func(_ aggregate.StageKey, lost []aggregate.DropCount) lossRule {
			r := lossRule{cause: rule.cause, subject: rule.subject, threshold: rule.threshold, certainty: 1, evidence: []string{rule.explanation}}
			r.evidence = append(r.evidence, w.risen(rule.counters)...)
			if unreasoned(lost) {
				r.certainty = byFunction
				r.evidence = append(r.evidence, noReason)
			}
			return r
		})...)
	}
	return append(found, w.unrouted()...)
}

// rises is by how much counters of the kernel rose together.
func (w *window) rises(counters []string) (n uint64) {
	for _, c := range counters {
		n += w.rise(c)
	}
	return n
}

// risen is evidence of it.
func (w *window) risen(counters []string) (out []string) {
	for _, c := range counters {
		if n := w.rise(c); n > 0 {
			out = append(out, fmt.Sprintf("the kernel's %s rose by %s", c, group(n)))
		}
	}
	return out
}

// explains tells whether packets were lost so.
func (r *routingCause) explains(d *aggregate.DropCount) bool {
	at := journey.FunctionName(d.Location)
	switch {
	case d.Reason == "IP_INHDR": // a bad header too, but not when it is forwarded
		return r.cause == TTL && slices.Contains(r.shared, at)
	case unspecified(d.Reason):
		return slices.Contains(r.functions, at)
	}
	return slices.Contains(r.reasons, d.Reason)
}

// mayExplain tells whether packets may have been lost so, if the kernel counted some.
func (r *routingCause) mayExplain(d *aggregate.DropCount) bool {
	return unspecified(d.Reason) && slices.Contains(r.shared, journey.FunctionName(d.Location))
}

// unspecified tells whether the kernel gave no reason.
func unspecified(reason string) bool { return reason == "" || reason == journey.NotSpecified }
