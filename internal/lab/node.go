package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The wire has an address too, to which nodes send what is neither a node's nor a pod's. It forwards nothing.
var gateway6 = netip.MustParsePrefix("fd00:172:30::1/64")

func (t *topology) gateway() netip.Prefix {
	a := t.Nodes[0].Address.As4()
	a[3] = 1
	return netip.PrefixFrom(netip.AddrFrom4(a), 24)
}

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

// makeWire builds the bridge that joins the nodes.
func (t *topology) makeWire() error {
	if err := t.Wire.setSysctls(everyNamespace); err != nil {
		return err
	}
	h, err := t.Wire.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	bridge := &netlink.Bridge{LinkAttrs: linkAttrs("br0", underlayMTU)}
	if err := h.LinkAdd(bridge); err != nil {
		return fmt.Errorf("%s: add bridge: %w", t.Wire, err)
	}
	link, err := bringUp(h, "br0", t.gateway(), gateway6)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Wire, err)
	}
	for _, node := range t.Nodes {
		if err := t.plug(h, link, node); err != nil {
			return fmt.Errorf("%s: join %s: %w", t.Wire, node.Name, err)
		}
	}
	return nil
}

// plug makes a veth whose one end is a port of the bridge and whose other is the node's uplink. Neither is ever in
// the namespace of the caller.
func (t *topology) plug(h *netlink.Handle, bridge netlink.Link, node Node) error {
	attrs := linkAttrs(node.Name, underlayMTU)
	attrs.MasterIndex = bridge.Attrs().Index
	if err := addVeth(h, attrs, t.Uplink, nil, node.Netns); err != nil {
		return err
	}
	_, err := bringUp(h, node.Name)
	return err
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

func linkAttrs(name string, mtu int) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	return attrs
}

// addVeth makes a veth in the handle's namespace with its peer in another.
func addVeth(h *netlink.Handle, attrs netlink.LinkAttrs, peer string, peerMAC net.HardwareAddr, peerNetns Namespace) error {
	ns, err := netns.GetFromPath(peerNetns.Path())
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", peerNetns, err)
	}
	defer ns.Close()
	veth := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         peer,
		PeerHardwareAddr: peerMAC,
		PeerNamespace:    netlink.NsFd(ns),
		PeerMTU:          uint32(attrs.MTU),
	}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s: %w", attrs.Name, err)
	}
	return nil
}

// bringUp sets a device up and gives it addresses.
func bringUp(h *netlink.Handle, name string, addrs ...netip.Prefix) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	for _, addr := range addrs {
		a := &netlink.Addr{IPNet: ipNet(addr)}
		if addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, a); err != nil {
			return nil, fmt.Errorf("add %s to %s: %w", addr, name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set %s up: %w", name, err)
	}
	return link, nil
}

// addRoute adds a route; one without destination is the default route of its gateway's family.
func addRoute(h *netlink.Handle, route *netlink.Route) error {
	if err := h.RouteReplace(route); err != nil {
		return fmt.Errorf("add route %s: %w", route, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// host is the prefix of an address alone.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
