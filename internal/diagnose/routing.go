package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// route is a way in which routing loses packets, and by what it is known.
type route struct {
	cause   Cause
	subject string
	// reasons mean it wherever they are given, at with one of locations if those are given too.
	reasons []string
	// places are functions that free a packet for nothing else; where the kernel gives no reason they tell.
	places []string
	// counter is one of IP's that rises with it; where a reasonless packet was freed in a function that has several
	// grounds (shared), its rise decides.
	counter []string
	shared  []string
	// critical is the share of the hit pairs' packets, least the number.
	critical float64
	least    uint64
	why      string
	next     []string
}

// discards are functions that throw away what no route leads on for, or one that says so.
var discards = [...]string{
	"ip_error", "dst_discard", "dst_discard_out", "dst_blackhole_output", "ip6_pkt_drop", "ip6_pkt_discard", "ip6_pkt_discard_out",
	"ip6_pkt_prohibit", "ip6_pkt_prohibit_out",
}

// Discards tells of a packet that was lost without a reason whether the place where it was freed means that no route led on:
// then the routing table can be asked.
func Discards(reason, location string) bool {
	return (reason == "" || reason == journey.NotSpecified) && slices.Contains(discards[:], journey.FunctionName(location))
}

// routes are what routing can do to packets. Functions are those of net/ipv4, net/ipv6 and net/core.
func routes() []route {
	return []route{
		{
			cause: MTU, subject: "a device whose MTU is too small",
			reasons: []string{"PKT_TOO_BIG", "IP_FRAG_FAILED"}, places: []string{"ip_fragment", "ip_do_fragment", "ip6_fragment", "ip6_pkt_too_big"},
			counter: []string{"IpFragFails", "Ip6FragFails", "Ip6InTooBigErrors", "Ip6OutFragFails"},
			shared:  []string{"ip_forward", "ip6_forward", "ip_finish_output", "ip6_finish_output", "ip_tunnel_xmit", "vxlan_xmit_one", "geneve_xmit"},
			// Only large packets are hit: of a pair's packets they may be few.
			critical: 0.005,
			why:      "packets that must not be fragmented are larger than the next device's MTU",
			next:     []string{"ip -d link show", "nstat -az IpFragFails Ip6OutFragFails Ip6InTooBigErrors"},
		},
		{
			cause: TTL, subject: "an expired TTL",
			reasons: []string{"IP_INHDR"}, counter: []string{"IpInHdrErrors", "Ip6InHdrErrors"}, shared: []string{"ip_forward", "ip6_forward"},
			critical: 0.05, least: 10, // a traceroute ends so on purpose
			why:  "their TTL or hop limit ended here: a routing loop, or a sender that sets it too low",
			next: []string{"nstat -az IpInHdrErrors IcmpOutTimeExcds", "ip route show table all"},
		},
		{
			cause: RPFilter, subject: "the reverse path filter",
			reasons:  []string{"IP_RPFILTER", "IP_LOCAL_SOURCE", "IP_INVALID_SOURCE", "IP_LOCALNET"},
			counter:  []string{"TcpExtIPReversePathFilter"},
			shared:   []string{"ip_rcv_finish_core", "ip_rcv_finish", "ip_route_input_noref", "ip_route_input_slow"},
			critical: 0.05,
			why:      "their source is not routed back to the device that they came from",
			next:     []string{"sysctl -a -r '\\.rp_filter$'", "nstat -az TcpExtIPReversePathFilter", "ip route show table all"},
		},
		{
			cause: Neighbour, subject: "a next hop without a link address",
			reasons: []string{"NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD", "NEIGH_CREATEFAIL", "NEIGH_HH_FILLFAIL"},
			places: []string{"arp_error_report", "ndisc_error_report", "__neigh_event_send", "neigh_invalidate", "neigh_resolve_output",
				"neigh_connected_output", "neigh_timer_handler", "neigh_add_timer"},
			critical: 0.05,
			why:      "the next hop does not answer to ARP or neighbour discovery",
			next:     []string{"ip -s neigh show nud failed nud incomplete", "ip neigh show"},
		},
		{
			cause: NoRoute, subject: "a missing or blackhole route",
			reasons:  []string{"IP_OUTNOROUTES", "IP_INNOROUTES", "IP_INADDRERRORS", "IP_INVALID_DEST", "IP6_INNOROUTES"},
			places:   discards[:],
			counter:  []string{"IpExtInNoRoutes", "IpOutNoRoutes", "Ip6InNoRoutes", "Ip6OutNoRoutes", "IpInAddrErrors", "Ip6InAddrErrors"},
			critical: 0.05,
			why:      "no route leads on to their destination, or one that discards them (blackhole, unreachable, prohibit)",
			next:     []string{"ip route get DESTINATION", "ip route show table all | grep -E 'blackhole|unreachable|prohibit'"},
		},
	}
}

// routingCauses are packets that could not be routed on.
func routingCauses(w *window) []Finding {
	var found []Finding
	for _, r := range routes() {
		rose := uint64(0)
		for _, c := range r.counter {
			rose += w.rose(c)
		}
		lost := w.losses.take(func(d *aggregate.DropCount) bool { return r.explains(d, rose) })
		found = append(found, w.explain(lost, func(_ aggregate.StageKey, lost []aggregate.DropCount) lossCause {
			c := lossCause{
				cause: r.cause, subject: r.subject, warning: min(0.005, r.critical/2), critical: r.critical, least: r.least,
				certainty: 1, evidence: []string{r.why}, next: r.next,
			}
			for _, name := range r.counter {
				if n := w.rose(name); n > 0 {
					c.evidence = append(c.evidence, fmt.Sprintf("the kernel's %s rose by %s", name, group(n)))
				}
			}
			if !slices.Contains(r.reasons, lost[0].Reason) {
				c.certainty = 0.6
				c.evidence = append(c.evidence, "the kernel gives no reason: the place where it freed the packets tells")
				if said := w.lookups(); r.cause == NoRoute && len(said) > 0 {
					c.certainty = 0.9
					c.evidence = append(c.evidence, said...)
				}
			}
			return c
		})...)
	}
	return found
}

// lookups are evidence of what the routing table says of packets that were lost without a reason.
func (w *window) lookups() (out []string) {
	for _, l := range w.to.Lookups {
		if len(out) < maxChanges {
			out = append(out, fmt.Sprintf("the routing table says of %v: %s", l.Destination, l.Result))
		}
	}
	return out
}

// explains tells whether packets were lost so; rose is by how much its counters rose.
func (r *route) explains(d *aggregate.DropCount, rose uint64) bool {
	at := journey.FunctionName(d.Location)
	switch {
	case d.Reason == "IP_INHDR": // a bad header too, but not when it is forwarded
		return r.cause == TTL && slices.Contains(r.shared, at)
	case slices.Contains(r.reasons, d.Reason):
		return true
	case d.Reason != "" && d.Reason != journey.NotSpecified:
		return false
	}
	return slices.Contains(r.places, at) || rose > 0 && slices.Contains(r.shared, at)
}
