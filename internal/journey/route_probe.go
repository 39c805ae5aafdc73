package journey

import "tracer/internal/record"

// smallestMTU is that of IPv6's links and of all that matter of IPv4: what is no larger is not freed for its size.
const smallestMTU = 1280

// probesRoute tells whether a packet freed in forwarding may be one of traceroute's or mtr's, whose time to live is to end on
// the way: ICMP, or UDP to the ports that nobody uses for anything else. What loops for want of a good route is not these alone.
func probesRoute(rec *record.Record) bool {
	switch FunctionName(rec.Location) {
	case "ip_forward", "ip6_forward":
	default:
		return false
	}
	switch port := rec.First.Destination.Port(); rec.First.Protocol {
	case record.ProtocolICMP, record.ProtocolICMPv6:
		return true
	case record.ProtocolUDP:
		return 33434 <= port && port <= 33534
	}
	return false
}
