package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

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

// addNetkit makes a netkit, which has no addresses, in the handle's namespace with its peer in another. Packets that no program
// wants otherwise pass.
func addNetkit(h *netlink.Handle, attrs netlink.LinkAttrs, peer string, peerNetns Namespace) error {
	ns, err := netns.GetFromPath(peerNetns.Path())
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", peerNetns, err)
	}
	defer ns.Close()
	peerAttrs := linkAttrs(peer, attrs.MTU)
	peerAttrs.Namespace = netlink.NsFd(ns)
	device := &netlink.Netkit{
		LinkAttrs: attrs, Mode: netlink.NETKIT_MODE_L3,
		Policy: netlink.NETKIT_POLICY_FORWARD, PeerPolicy: netlink.NETKIT_POLICY_FORWARD,
	}
	device.SetPeerAttrs(&peerAttrs)
	if err := h.LinkAdd(device); err != nil {
		return fmt.Errorf("add netkit %s: %w", attrs.Name, err)
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
