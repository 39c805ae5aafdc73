package device

import (
	"net/netip"

	"tracer/internal/netdev"
	"tracer/internal/record"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// link is what netlink says about a network device, as far as its role and place depend on it.
type link struct {
	index    int
	name     string
	kind     string // rtnetlink's; "" for hardware
	encap    uint16 // ARPHRD_*: the link-layer header
	up       bool
	loopback bool
	// noCarrier tells of a device that is up that nothing is connected to it.
	noCarrier bool
	mtu       int
	// parent is what it stands on (a VLAN's device), or a veth's other end; foreign tells that this lies in
	// another namespace, where the index says nothing here.
	parent  int
	foreign bool
	netns   int // that namespace's id here, if foreign; negative if it has none
	master  int // bond, bridge … that it is a slave of
	// underlay is the device that a tunnel is bound to; 0 for others.
	underlay int
	// tunnelPort is a vxlan's or geneve's UDP port; 0 for others.
	tunnelPort uint16
	addresses  []netip.Prefix // global ones
	xdp        bool           // an XDP program is attached
	traffic    netdev.Traffic
	statistics []byte // struct rtnl_link_stats64
	sizes      packetSizes
	// defaultRoute tells that the main table has a default route through it.
	defaultRoute bool
}

// ethernet tells whether packets have an Ethernet header at tc. A netkit has one in both its modes: in L3 mode the
// addresses in it are zero (drivers/net/netkit.c: ether_setup, eth_skb_pull_mac). InfiniBand's is another, of 24 bytes: 20 of
// an address and 4 with the protocol. The programs find the IP header behind it as they do where there is none.
func (l *link) ethernet() bool {
	return l.encap == unix.ARPHRD_ETHER || l.encap == unix.ARPHRD_LOOPBACK
}

// isHardware tells whether a device is a port of the machine's own. Most have no kind. Two sorts are made by rtnetlink as well:
// modems' (wwan, and rmnet, which is one channel of a modem), and InfiniBand's, of which a port stands on no other device.
func (l *link) isHardware() bool {
	switch l.kind {
	case "", "wwan", "rmnet":
		return true
	case "ipoib":
		return l.parent == 0 && !l.foreign
	}
	return false
}

// bareIP tells whether IP packets are all that there is at tc: nothing stands before them, and nothing but them is sent.
func (l *link) bareIP() bool {
	switch l.encap {
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_PPP, unix.ARPHRD_SLIP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6,
		unix.ARPHRD_SIT, unix.ARPHRD_IPGRE, unix.ARPHRD_IP6GRE:
		return true
	}
	return false
}

// parseLink reads an RTM_NEWLINK message: struct ifinfomsg is family, padding, type, index, flags, change. It is
// read here and not by package netlink, which gives gre without a local address the kind ip6gre, and asks /sys about
// a tap by its name in whatever namespace is mounted there.
func parseLink(message []byte) (link, bool) {
	if len(message) < unix.SizeofIfInfomsg {
		return link{}, false
	}
	flags := u32(message, 8)
	l := link{
		index:    int(u32(message, 4)),
		encap:    u16(message, 2),
		up:       flags&unix.IFF_UP != 0,
		loopback: flags&unix.IFF_LOOPBACK != 0,

		noCarrier: flags&unix.IFF_UP != 0 && flags&unix.IFF_LOWER_UP == 0,
	}
	for kind, value := range attributes(message[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.name = record.Printable(text(value))
		case unix.IFLA_MTU:
			l.mtu = int(u32(value, 0))
		case unix.IFLA_GSO_MAX_SEGS:
			l.sizes.segments = u32(value, 0)
		case unix.IFLA_GSO_MAX_SIZE:
			l.sizes.gso = u32(value, 0)
		case unix.IFLA_GSO_IPV4_MAX_SIZE:
			l.sizes.gso4 = u32(value, 0)
		case unix.IFLA_GRO_MAX_SIZE:
			l.sizes.gro = u32(value, 0)
		case unix.IFLA_GRO_IPV4_MAX_SIZE:
			l.sizes.gro4 = u32(value, 0)
		case unix.IFLA_LINK:
			l.parent = int(u32(value, 0))
		case unix.IFLA_LINK_NETNSID: // only there if that namespace is another
			l.foreign, l.netns = true, int(int32(u32(value, 0)))
		case unix.IFLA_MASTER:
			l.master = int(u32(value, 0))
		case unix.IFLA_STATS64:
			l.traffic, l.statistics = parseTraffic(value), value
		case unix.IFLA_XDP:
			for kind, attached := range attributes(value) {
				l.xdp = l.xdp || kind == nl.IFLA_XDP_ATTACHED && len(attached) > 0 && attached[0] != nl.XDP_ATTACHED_NONE
			}
		case unix.IFLA_LINKINFO:
			parseLinkInfo(&l, value)
		}
	}
	return l, l.name != ""
}

// peerNetns is the id of the namespace that the other end is in; nil if that is this one, or has none.
func (l *link) peerNetns() *int {
	if !l.foreign || l.netns < 0 {
		return nil
	}
	return &l.netns
}

// parseTraffic reads struct rtnl_link_stats64: packets, bytes, errors and drops, each received and sent, and multicast.
func parseTraffic(stats []byte) netdev.Traffic {
	at := func(i int) uint64 { return u64(stats, i*8) }
	return netdev.Traffic{RxPackets: at(0), TxPackets: at(1), RxBytes: at(2), TxBytes: at(3), RxDrops: at(6), TxDrops: at(7), RxMulticast: at(8)}
}

// parseErrors reads from struct rtnl_link_stats64 what means a loss, without what is 0.
func parseErrors(stats []byte) map[string]uint64 {
	var errors map[string]uint64
	for i, name := range []string{
		6: "rx_dropped", 7: "tx_dropped", 10: "rx_length_errors", 11: "rx_over_errors", 12: "rx_crc_errors", 13: "rx_frame_errors",
		14: "rx_fifo_errors", 15: "rx_missed_errors", 16: "tx_aborted_errors", 17: "tx_carrier_errors", 18: "tx_fifo_errors",
	} {
		if n := u64(stats, i*8); name != "" && n > 0 {
			if errors == nil {
				errors = make(map[string]uint64)
			}
			errors[name] = n
		}
	}
	return errors
}

func parseLinkInfo(l *link, info []byte) {
	var data []byte
	for kind, value := range attributes(info) {
		switch kind {
		case nl.IFLA_INFO_KIND:
			l.kind = text(value)
		case nl.IFLA_INFO_DATA:
			data = value
		}
	}
	// Each kind numbers its attributes by itself.
	var underlay, port int
	switch l.kind {
	case "vxlan":
		underlay, port = nl.IFLA_VXLAN_LINK, nl.IFLA_VXLAN_PORT
	case "geneve":
		port = nl.IFLA_GENEVE_PORT
	case "ipip", "sit", "ip6tnl":
		underlay = nl.IFLA_IPTUN_LINK
	case "gre", "gretap", "ip6gre", "ip6gretap":
		underlay = nl.IFLA_GRE_LINK
	}
	for kind, value := range attributes(data) {
		switch {
		case kind == underlay && underlay != 0:
			l.underlay = int(u32(value, 0))
		case kind == port && port != 0:
			l.tunnelPort = be16(value)
		}
	}
}

// parseAddress reads an RTM_NEWADDR message: struct ifaddrmsg is family, prefix length, flags, scope, index. Only
// addresses that are valid beyond a link or this machine count.
func parseAddress(message []byte) (index int, prefix netip.Prefix, ok bool) {
	if len(message) < unix.SizeofIfAddrmsg || message[3] >= unix.RT_SCOPE_LINK {
		return 0, netip.Prefix{}, false
	}
	var address []byte
	for kind, value := range attributes(message[unix.SizeofIfAddrmsg:]) {
		// On a point-to-point link IFA_ADDRESS is the other end; IPv6 has no IFA_LOCAL elsewhere.
		if kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && address == nil {
			address = value
		}
	}
	addr, ok := netip.AddrFromSlice(address)
	if !ok || addr.IsLoopback() {
		return 0, netip.Prefix{}, false
	}
	prefix = netip.PrefixFrom(addr, int(message[1]))
	return int(u32(message, 4)), prefix, prefix.IsValid()
}

// parseDefaultRoute lists the devices of an RTM_NEWROUTE message's default route in the main table; none if it is
// another route. Other tables are policy routing's: what goes there is not the node's traffic at large.
func parseDefaultRoute(message []byte) []int {
	if !isDefaultRoute(message) || message[4] != unix.RT_TABLE_MAIN || message[7] != unix.RTN_UNICAST {
		return nil
	}
	var devices []int
	for kind, value := range attributes(message[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_OIF:
			devices = append(devices, int(u32(value, 0)))
		case unix.RTA_MULTIPATH: // struct rtnexthop: length, flags, hops, ifindex; then attributes
			for len(value) >= unix.SizeofRtNexthop {
				devices = append(devices, int(u32(value, 4)))
				size := (int(u16(value, 0)) + 3) &^ 3
				if size < unix.SizeofRtNexthop || size > len(value) {
					break
				}
				value = value[size:]
			}
		}
	}
	return devices
}

// isDefaultRoute tells whether the destination is everything: struct rtmsg is family, destination's and source's
// length, TOS, table, protocol, scope, type, flags.
func isDefaultRoute(message []byte) bool {
	return len(message) >= unix.SizeofRtMsg && message[1] == 0
}
