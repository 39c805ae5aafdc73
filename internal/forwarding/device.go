package forwarding

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// Attributes of RTM_GETNETCONF: what sysctls say of a device, read by netlink since /proc/sys shows those of whoever reads it.
const (
	confIfindex    = 1 // NETCONFA_IFINDEX
	confForwarding = 2 // NETCONFA_FORWARDING
	confProxy      = 5 // NETCONFA_PROXY_NEIGH
	confAll        = -1
)

// conf are a device's sysctls; those of all devices by confAll. What is not known counts as on.
func (t *Tables) conf(family, index int) (forwarding, proxy bool) {
	answer, err := t.get(unix.RTM_GETNETCONF, raw{byte(family), 0, 0, 0}, nl.NewRtAttr(confIfindex, nl.Uint32Attr(uint32(int32(index)))))
	if err != nil {
		return true, true
	}
	a := attributes(answer, 4)
	is := func(kind int) bool {
		n, ok := number(a[kind])
		return !ok || n != 0
	}
	return is(confForwarding), is(confProxy)
}

// Forwarding is the sysctl that keeps a packet from being forwarded from the device it came in by; "" if none does.
func (t *Tables) Forwarding(p Packet) string {
	if p.Device == "" {
		return ""
	}
	link, err := t.handle.LinkByName(p.Device)
	if err != nil {
		return ""
	}
	all, _ := t.conf(p.family(), confAll)
	if p.family() == netlink.FAMILY_V6 { // of IPv6 the device's own decides nothing
		if all {
			return ""
		}
		return "net.ipv6.conf.all.forwarding"
	}
	switch device, _ := t.conf(p.family(), link.Attrs().Index); {
	case device:
		return ""
	case !all:
		return "net.ipv4.ip_forward"
	}
	return ofDevice(p.Device, "forwarding")
}

// ofDevice is a sysctl of a device as sysctl(8) takes it: a dot in the device's name is a slash there.
func ofDevice(device, name string) string {
	return "net.ipv4.conf." + strings.ReplaceAll(device, ".", "/") + "." + name
}

// LinkAddress is a device's MAC; "" if it has none.
func (t *Tables) LinkAddress(device string) string {
	link, err := t.handle.LinkByName(device)
	if err != nil {
		return ""
	}
	return link.Attrs().HardwareAddr.String()
}

// Gateway says why this node does not answer for a pod's gateway, which is asked for at a pod's device (arp_process in
// net/ipv4/arp.c); "" if it should. sysctl is one that forbids forwarding, if that is why. routes are those to it.
func (t *Tables) Gateway(routes *Routes, gateway netip.Addr, device string) (why, sysctl string) {
	link, err := t.handle.LinkByName(device)
	if err != nil {
		return "", ""
	}
	p := Packet{Source: gateway, Destination: gateway, Device: device}
	found := record.RouteLookup{Destination: gateway}
	if err := t.Route(&found, routes, p); err != nil || t.isOwn(gateway, link) {
		return "", ""
	}
	if master, err := t.handle.LinkByIndex(link.Attrs().MasterIndex); err == nil && link.Attrs().MasterIndex != 0 {
		return fmt.Sprintf("no device of this node has the address %v, and %s is a port of %s", gateway, device, master.Attrs().Name), ""
	}
	if gateway.Is6() {
		return fmt.Sprintf("%s does not have the address %v", device, gateway), ""
	}
	_, all := t.conf(netlink.FAMILY_V4, confAll)
	_, proxy := t.conf(netlink.FAMILY_V4, link.Attrs().Index)
	switch sysctl := t.Forwarding(p); {
	case sysctl != "":
		return sysctl + " is 0: a node that does not forward answers for nobody", sysctl
	case !all && !proxy:
		return ofDevice(device, "proxy_arp") + " is 0", ""
	case found.Result != "":
		return fmt.Sprintf("this node has no route to %v (no default route): without one it does not answer for it", gateway), ""
	case found.Out == device:
		return fmt.Sprintf("this node's route to %v leads back to %s", gateway, device), ""
	}
	return "", ""
}

// LeadsTo is the device that the route to an address leads to; of an address of this namespace's own that is lo.
func (t *Tables) LeadsTo(to netip.Addr) (ifindex int, err error) {
	routes, err := t.handle.RouteGet(to.AsSlice())
	if err != nil {
		return 0, fmt.Errorf("ask for the route to %v: %w", to, err)
	}
	if len(routes) == 0 {
		return 0, fmt.Errorf("ask for the route to %v: %w", to, unix.ENOENT)
	}
	return routes[0].LinkIndex, nil
}

// PeerHas tells whether the other end of a pod's device, in the pod, has an address.
func (t *Tables) PeerHas(ifindex int, address netip.Addr) (bool, error) {
	link, err := t.handle.LinkByIndex(ifindex)
	if err != nil {
		return false, fmt.Errorf("read device %d: %w", ifindex, err)
	}
	a := link.Attrs()
	if a.NetNsID < 0 {
		return false, nil
	}
	m := nl.NewIfAddrmsg(unix.AF_INET)
	if address.Is6() {
		m.Family = unix.AF_INET6
	}
	messages, err := t.dump(unix.RTM_GETADDR, m, nl.NewRtAttr(unix.IFA_TARGET_NETNSID, nl.Uint32Attr(uint32(a.NetNsID))))
	if err != nil {
		return false, fmt.Errorf("list addresses of the pod behind %s: %w", a.Name, err)
	}
	for _, answer := range messages {
		found := attributes(answer, unix.SizeofIfAddrmsg)
		for _, kind := range []int{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
			if own, ok := netip.AddrFromSlice(found[kind]); ok && own == address {
				return true, nil
			}
		}
	}
	return false, nil
}

// isOwn tells whether an address is the namespace's own; one that is valid on a link alone, that device's.
func (t *Tables) isOwn(address netip.Addr, on netlink.Link) bool {
	family := netlink.FAMILY_V4
	if address.Is6() {
		family = netlink.FAMILY_V6
	}
	if !address.IsLinkLocalUnicast() {
		on = nil
	}
	list, err := t.handle.AddrList(on, family)
	if err != nil {
		return false
	}
	for _, a := range list {
		if own, ok := netip.AddrFromSlice(a.IP); ok && own.Unmap() == address.Unmap() {
			return true
		}
	}
	return false
}
