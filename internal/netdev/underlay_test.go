package netdev

import (
	"net/netip"
	"testing"
)

func TestTunnelHeader(t *testing.T) {
	t.Parallel()
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, test := range []struct {
		kind string
		peer netip.Addr
		want int
	}{
		{"vxlan", four, 50}, {"vxlan", six, 70}, {"geneve", four, 50}, {"ipip", four, 20}, {"ip6tnl", six, 40}, {"gre", four, 24},
		{"wireguard", four, 60}, {"wireguard", six, 80}, {"tun", four, 0},
	} {
		if got := TunnelHeader(test.kind, test.peer); got != test.want {
			t.Errorf("%s to %v: %d, want %d", test.kind, test.peer, got, test.want)
		}
	}
}

func TestExcess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		tunnel Tunnel
		want   int
	}{
		{Tunnel{Largest: 1450, Header: 50, MTU: 1500}, 0},
		{Tunnel{Largest: 1450, Header: 50, MTU: 900}, 600},
		{Tunnel{Largest: 1450, Header: 50, MTU: 9001}, 0},
		{Tunnel{Header: 50, MTU: 900}, 0},
		{Tunnel{Largest: 1450, MTU: 900}, 0},
		{Tunnel{Largest: 1450, Header: 50}, 0},
	} {
		if got := test.tunnel.Excess(); got != test.want {
			t.Errorf("%+v: %d, want %d", test.tunnel, got, test.want)
		}
	}
}
