package journey

import (
	"net/netip"
	"testing"

	"tracer/internal/record"
)

// TestRouteProbesAreNoLoss frees packets in forwarding: those that die of their time to live as traceroute and mtr want it, and
// those of applications, which are in a loop.
func TestRouteProbesAreNoLoss(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		protocol         record.Protocol
		port             uint16
		bytes            uint32
		reason, location string
		loss             bool
	}{
		{record.ProtocolICMP, 0, 84, "IP_INHDR", "ip_forward", false},
		{record.ProtocolICMPv6, 0, 84, "IP_INHDR", "ip6_forward", false},
		{record.ProtocolUDP, 33440, 60, "IP_INHDR", "ip_forward", false},
		{record.ProtocolICMP, 0, 84, NotSpecified, "ip_forward", false}, // 5.10 gives no reason
		{record.ProtocolICMP, 0, 1500, "", "ip_forward", true},          // it may be too large
		{record.ProtocolUDP, 53, 60, "IP_INHDR", "ip_forward", true},
		{record.ProtocolTCP, 33440, 60, "IP_INHDR", "ip_forward", true},
		{record.ProtocolICMP, 0, 84, "IP_INHDR", "ip_rcv_core", true}, // a header that is bad
		{record.ProtocolICMP, 0, 84, NotSpecified, "ip_error", true},
		{record.ProtocolICMP, 0, 84, "NETFILTER_DROP", "nf_hook_slow", true},
	} {
		r := rec(t, record.Dropped, "I cali1 0, F cali1 3")
		r.Reason, r.Location, r.IPBytes = test.reason, test.location, test.bytes
		r.First = record.Flow{Protocol: test.protocol, Destination: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.2"), test.port)}
		if p, err := PathOf(r, NewDevices(node)); err != nil || p.Loss() != test.loss {
			t.Errorf("%+v: a loss %v, %v", test, p.Loss(), err)
		}
	}
}
