package identity

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

func cidr(t *testing.T, s string) *net.IPNet {
	t.Helper()
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	n.IP = ip
	return n
}

func TestNodes(t *testing.T) {
	t.Parallel()
	const eth0, tunnel, cali = 2, 3, 4
	addresses := []netlink.Addr{
		{IPNet: cidr(t, "127.0.0.1/8"), LinkIndex: 1},
		{IPNet: cidr(t, "192.168.0.1/24"), LinkIndex: eth0},
		{IPNet: cidr(t, "fe80::1/64"), LinkIndex: eth0},
		{IPNet: cidr(t, "10.244.1.0/32"), LinkIndex: tunnel},
	}
	routes := []netlink.Route{
		{LinkIndex: eth0, Gw: net.ParseIP("192.168.0.254")}, // the way out: no node
		{LinkIndex: eth0, Dst: cidr(t, "192.168.0.0/24")},
		{LinkIndex: tunnel, Dst: cidr(t, "10.244.2.0/24"), Gw: net.ParseIP("10.244.2.0")},  // flannel
		{LinkIndex: tunnel, Dst: cidr(t, "10.244.3.0/26"), Gw: net.ParseIP("192.168.0.3")}, // Calico
		{LinkIndex: cali, Dst: cidr(t, "10.244.1.7/32")},
	}
	k := &Kubernetes{}
	check := func(want map[string]bool) {
		t.Helper()
		k.SetNodes(newNodes(addresses, routes))
		for address, is := range want {
			if got := k.isNode(netip.MustParseAddr(address)); got != is {
				t.Errorf("%s is a node's: %v", address, got)
			}
		}
	}
	check(map[string]bool{
		"192.168.0.1": true, "192.168.0.3": true, "192.168.0.77": true, "10.244.2.0": true, "fe80::1": true,
		"10.244.1.7": false, "10.244.2.5": false, "192.168.1.1": false, "fe80::2": false,
	})
	// A cloud that gives pods addresses of the nodes' network.
	routes = append(routes, netlink.Route{LinkIndex: cali, Dst: cidr(t, "192.168.0.99/32")})
	check(map[string]bool{"192.168.0.1": true, "192.168.0.77": false, "192.168.0.99": false})
}
