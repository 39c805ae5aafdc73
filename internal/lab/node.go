package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// everyNamespace has no reverse path filter (packets of a Service come from an address that they were not sent
// to) and its IPv6 addresses work at once instead of after duplicate detection.
var everyNamespace = [][2]string{
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	{"ipv6/conf/all/accept_dad", "0"},
	{"ipv6/conf/default/accept_dad", "0"},
	{"ipv6/conf/all/disable_ipv6", "0"},
	{"ipv6/conf/default/disable_ipv6", "0"},
	{"ipv6/conf/default/router_solicitations", "0"},
}

var everyNode = [][2]string{
	{"ipv4/ip_forward", "1"},
	{"ipv6/conf/all/forwarding", "1"},
}

// makeNode gives a plugged node its addresses and its default routes, without which it would not answer pods'
// ARP requests for their gateway.
func (t *topology) makeNode(node Node) error {
	if err := node.Netns.setSysctls(everyNode); err != nil {
		return err
	}
	h, err := node.Netns.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	uplink, err := bringUp(h, t.Uplink,
		netip.PrefixFrom(node.Address, t.gateway().Bits()), netip.PrefixFrom(node.Address6, gateway6.Bits()))
	if err != nil {
		return fmt.Errorf("%s: %w", node.Name, err)
	}
	for _, via := range []netip.Prefix{t.gateway(), gateway6} {
		route := &netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: via.Addr().AsSlice()}
		if err := addRoute(h, route); err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
	}
	return nil
}
