package forwarding

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// Neighbour fills in of a look-up what is known of the next hop on its link, and of the device that leads there.
func (t *Tables) Neighbour(l *record.RouteLookup) error {
	if l.Out == "" {
		return nil
	}
	link, err := t.handle.LinkByName(l.Out)
	if err != nil {
		return fmt.Errorf("read device %s: %w", l.Out, err)
	}
	a := link.Attrs()
	switch {
	case a.RawFlags&unix.IFF_UP == 0:
		l.OutState = "down"
	case a.RawFlags&unix.IFF_LOWER_UP == 0:
		l.OutState = "without a carrier"
	}
	if l.OutIsPod = a.NetNsID >= 0 && (link.Type() == "veth" || link.Type() == "netkit"); l.OutIsPod {
		l.PeerAddress, l.PeerDown = t.peer(a)
	}
	mac, err := t.neighbour(l, a.Index)
	if err != nil {
		return err
	}
	vxlan, ok := link.(*netlink.Vxlan)
	if !ok || vxlan.FlowBased || mac == nil {
		return nil
	}
	l.Node, l.NoForwardingEntry, err = t.forwardingEntry(a.Index, mac)
	return err
}

// neighbour reads the next hop's entry. Without one it is as if nobody had asked.
func (t *Tables) neighbour(l *record.RouteLookup, index int) (net.HardwareAddr, error) {
	m := &netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(index)}
	if l.NextHop.Is6() {
		m.Family = unix.AF_INET6
	}
	answer, err := t.get(unix.RTM_GETNEIGH, m, nl.NewRtAttr(unix.NDA_DST, l.NextHop.AsSlice()))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read neighbour %v: %w", l.NextHop, err)
	}
	if len(answer) < unix.SizeofNdMsg {
		return nil, nil
	}
	l.Neighbour = stateName(nl.NativeEndian().Uint16(answer[8:]))
	mac := net.HardwareAddr(attributes(answer, unix.SizeofNdMsg)[unix.NDA_LLADDR])
	if len(mac) != 6 || strings.Trim(mac.String(), "0:") == "" {
		return nil, nil
	}
	l.LinkAddress = mac.String()
	return mac, nil
}

// stateName is the state of a neighbour entry as ip neigh shows it.
func stateName(state uint16) string {
	for i, name := range []string{"INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT"} {
		if state == 1<<i {
			return name
		}
	}
	return "NONE"
}

// forwardingEntry reads where a vxlan device sends frames for a MAC; missing tells that it does not know.
func (t *Tables) forwardingEntry(index int, mac net.HardwareAddr) (node netip.Addr, missing bool, err error) {
	for _, address := range []net.HardwareAddr{mac, make(net.HardwareAddr, 6)} { // that of all zeros is for what is not known
		m := &netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(index), Flags: unix.NTF_SELF}
		answer, err := t.get(unix.RTM_GETNEIGH, m, nl.NewRtAttr(unix.NDA_LLADDR, address))
		if err == nil {
			node, _ = netip.AddrFromSlice(attributes(answer, unix.SizeofNdMsg)[unix.NDA_DST])
			return node.Unmap(), false, nil
		}
		if !errors.Is(err, unix.ENOENT) {
			return netip.Addr{}, false, fmt.Errorf("read forwarding entry of %v: %w", address, err)
		}
	}
	return netip.Addr{}, true, nil
}

// Peer is what is known of the other end of a pod's device: its MAC, and whether it is down.
func (t *Tables) Peer(device string) (mac string, down bool) {
	link, err := t.handle.LinkByName(device)
	if err != nil {
		return "", false
	}
	return t.peer(link.Attrs())
}

// peer asks the kernel, which tells it without the namespace being entered.
func (t *Tables) peer(device *netlink.LinkAttrs) (mac string, down bool) {
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index = int32(device.ParentIndex)
	answer, err := t.get(unix.RTM_GETLINK, m, nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(device.NetNsID))))
	if err != nil || len(answer) < unix.SizeofIfInfomsg {
		return "", false // gone by now, or none of ours to see
	}
	if address := attributes(answer, unix.SizeofIfInfomsg)[unix.IFLA_ADDRESS]; len(address) == 6 {
		mac = net.HardwareAddr(address).String()
	}
	return mac, nl.NativeEndian().Uint32(answer[8:])&unix.IFF_UP == 0
}

// Table is how full the neighbour table of an address's family is.
func (t *Tables) Table(address netip.Addr) (*record.NeighbourTable, error) {
	family, version := byte(unix.AF_INET), "ipv4"
	if address.Is6() {
		family, version = unix.AF_INET6, "ipv6"
	}
	const header, limit, config, stats = 4, 4, 5, 7 // struct ndtmsg; NDTA_THRESH3, NDTA_CONFIG, NDTA_STATS
	const entries, fulls = 4, 80                    // where they stand in struct ndt_config and struct ndt_stats
	messages, err := t.dump(unix.RTM_GETNEIGHTBL, raw{family, 0, 0, 0})
	if err != nil {
		return nil, fmt.Errorf("read the neighbour table's size: %w", err)
	}
	for _, m := range messages {
		a := attributes(m, header)
		most, ok := number(a[limit])
		if !ok || len(a[config]) < entries+4 { // parameters of one device
			continue
		}
		held, _ := number(a[config][entries:])
		found := &record.NeighbourTable{Entries: uint64(held), Limit: uint64(most), Sysctl: "net." + version + ".neigh.default.gc_thresh3"}
		if len(a[stats]) >= fulls+8 {
			found.Fulls = nl.NativeEndian().Uint64(a[stats][fulls:])
		}
		return found, nil
	}
	return nil, errors.New("read the neighbour table's size: the kernel names none")
}

// Underlay follows a look-up whose route leads into a tunnel to the node where the tunnel ends: what a tunnel sends is lost for
// want of that node's neighbour entry, too.
func (t *Tables) Underlay(l *record.RouteLookup) error {
	if l.Out == "" || l.Neighbour == "FAILED" || l.Neighbour == "INCOMPLETE" {
		return nil
	}
	link, err := t.handle.LinkByName(l.Out)
	if err != nil {
		return fmt.Errorf("read device %s: %w", l.Out, err)
	}
	switch link.Type() {
	case "vxlan":
	case "ipip", "sit", "gre", "ip6tnl":
		l.Node = l.NextHop
	}
	if !l.Node.IsValid() {
		return nil
	}
	outer := record.RouteLookup{Destination: l.Node}
	routes, err := t.handle.RouteGet(l.Node.AsSlice()) // no rule or route that refuses it is to be named: no list is needed
	if err == nil && len(routes) > 0 {
		t.setNextHop(&outer, &routes[0])
	}
	if err := t.Neighbour(&outer); err != nil {
		return err
	}
	l.NextHop, l.Out, l.OutState, l.Neighbour, l.LinkAddress = outer.NextHop, outer.Out, outer.OutState, outer.Neighbour, outer.LinkAddress
	return nil
}
