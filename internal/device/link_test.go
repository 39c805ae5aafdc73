package device

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"tracer/internal/netdev"

	"golang.org/x/sys/unix"
)

func TestParseLink(t *testing.T) {
	t.Parallel()
	// struct ifinfomsg: family, padding, type; index; flags; change.
	header := func(arphrd uint16, index, flags uint32) []byte {
		return slices.Concat([]byte{0, 0}, n16(arphrd), words(index, flags, 0))
	}
	tests := []struct {
		name     string
		message  []byte
		want     link
		ethernet bool
	}{
		{"vxlan", slices.Concat(header(unix.ARPHRD_ETHER, 7, unix.IFF_UP|unix.IFF_LOWER_UP),
			attr(unix.IFLA_IFNAME, []byte("flannel.1\x00")), attr(unix.IFLA_MTU, words(1450)),
			attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED,
				attr(1, []byte("vxlan\x00")),                               // IFLA_INFO_KIND
				attr(2, attr(3, words(2)), attr(15, []byte{0x21, 0x18})))), // IFLA_INFO_DATA: IFLA_VXLAN_LINK, _PORT in network order
			link{index: 7, name: "flannel.1", kind: "vxlan", encap: unix.ARPHRD_ETHER, up: true, mtu: 1450, underlay: 2, tunnelPort: 8472}, true},
		{"veth to another namespace, in a bridge", slices.Concat(header(unix.ARPHRD_ETHER, 8, 0),
			attr(unix.IFLA_IFNAME, []byte("veth1\x00")), attr(unix.IFLA_LINK, words(2)), attr(unix.IFLA_MASTER, words(5)),
			attr(unix.IFLA_LINK_NETNSID, words(3)), attr(unix.IFLA_LINKINFO, attr(1, []byte("veth\x00")))),
			link{index: 8, name: "veth1", kind: "veth", encap: unix.ARPHRD_ETHER, parent: 2, foreign: true, netns: 3, master: 5}, true},
		{"tunl0", slices.Concat(header(unix.ARPHRD_TUNNEL, 9, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_NOARP),
			attr(unix.IFLA_IFNAME, []byte("tunl0\x00")), attr(unix.IFLA_LINKINFO, attr(1, []byte("ipip\x00"))),
			attr(unix.IFLA_STATS64, words(1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0))),
			link{
				index: 9, name: "tunl0", kind: "ipip", encap: unix.ARPHRD_TUNNEL, up: true,
				traffic:    netdev.Traffic{RxPackets: 1, TxPackets: 2, RxBytes: 3, TxBytes: 4, RxDrops: 7, TxDrops: 8},
				statistics: words(1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0),
			}, false},
		{"wireguard", slices.Concat(header(unix.ARPHRD_NONE, 10, 0),
			attr(unix.IFLA_IFNAME, []byte("wg0\x00")), attr(unix.IFLA_LINKINFO, attr(1, []byte("wireguard\x00")))),
			link{index: 10, name: "wg0", kind: "wireguard", encap: unix.ARPHRD_NONE}, false},
		{"loopback", slices.Concat(header(unix.ARPHRD_LOOPBACK, 1, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_LOOPBACK),
			attr(unix.IFLA_IFNAME, []byte("lo\x00"))),
			link{index: 1, name: "lo", encap: unix.ARPHRD_LOOPBACK, up: true, loopback: true}, true},
	}
	for _, test := range tests {
		got, ok := parseLink(test.message)
		if !ok || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.name, got, test.want)
		}
		if got.ethernet() != test.ethernet {
			t.Errorf("%s: ethernet = %v", test.name, got.ethernet())
		}
	}
	if _, ok := parseLink(header(1, 1, 0)[:15]); ok {
		t.Error("a message shorter than its header was accepted")
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	// struct ifaddrmsg: family, prefix length, flags, scope; index.
	message := func(bits, scope byte, attributes ...[]byte) []byte {
		return slices.Concat([]byte{unix.AF_INET, bits, 0, scope}, words(6), slices.Concat(attributes...))
	}
	v6 := netip.MustParseAddr("fd00::1").AsSlice()
	for _, test := range []struct {
		name    string
		message []byte
		want    string
	}{
		{"IPv4", message(24, unix.RT_SCOPE_UNIVERSE, attr(unix.IFA_ADDRESS, []byte{10, 0, 0, 4}), attr(unix.IFA_LOCAL, []byte{10, 0, 0, 4})), "10.0.0.4/24"},
		{"point to point", message(32, unix.RT_SCOPE_UNIVERSE, attr(unix.IFA_ADDRESS, []byte{10, 0, 0, 9}), attr(unix.IFA_LOCAL, []byte{10, 0, 0, 4})), "10.0.0.4/32"},
		{"IPv6", message(64, unix.RT_SCOPE_SITE, attr(unix.IFA_ADDRESS, v6)), "fd00::1/64"},
		{"link-local", message(64, unix.RT_SCOPE_LINK, attr(unix.IFA_ADDRESS, v6)), ""},
		{"loopback", message(8, unix.RT_SCOPE_UNIVERSE, attr(unix.IFA_LOCAL, []byte{127, 0, 0, 5})), ""},
		{"absurd length", message(200, unix.RT_SCOPE_UNIVERSE, attr(unix.IFA_LOCAL, []byte{10, 0, 0, 5})), ""},
		{"without address", message(24, unix.RT_SCOPE_UNIVERSE), ""},
	} {
		index, prefix, ok := parseAddress(test.message)
		if ok != (test.want != "") || ok && (index != 6 || prefix != netip.MustParsePrefix(test.want)) {
			t.Errorf("%s: got %d, %v, %v", test.name, index, prefix, ok)
		}
	}
}

func TestParseDefaultRoute(t *testing.T) {
	t.Parallel()
	// struct rtmsg: family, destination's and source's length, TOS, table, protocol, scope, type; flags.
	message := func(bits, table, kind byte, attributes ...[]byte) []byte {
		return slices.Concat([]byte{unix.AF_INET, bits, 0, 0, table, 0, 0, kind}, words(0), slices.Concat(attributes...))
	}
	// struct rtnexthop: length, flags, hops, ifindex; here with a gateway after it.
	hop := func(index uint32) []byte {
		return slices.Concat(n16(16), []byte{0, 0}, words(index), attr(unix.RTA_GATEWAY, []byte{10, 0, 0, 1}))
	}
	for _, test := range []struct {
		name    string
		message []byte
		want    []int
	}{
		{"default", message(0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, attr(unix.RTA_OIF, words(3))), []int{3}},
		{"of several paths", message(0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, attr(unix.RTA_MULTIPATH, hop(3), hop(4))), []int{3, 4}},
		{"of a path with an absurd length", message(0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST,
			attr(unix.RTA_MULTIPATH, n16(2), n16(0), words(3), hop(4))), []int{3}},
		{"to a network", message(24, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, attr(unix.RTA_OIF, words(3))), nil},
		{"of another table", message(0, 100, unix.RTN_UNICAST, attr(unix.RTA_OIF, words(3))), nil},
		{"unreachable", message(0, unix.RT_TABLE_MAIN, unix.RTN_UNREACHABLE, attr(unix.RTA_OIF, words(1))), nil},
		{"cut", make([]byte, 11), nil},
	} {
		if got := parseDefaultRoute(test.message); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	stats := make([]byte, 24*8)
	for i := range 24 {
		binary.NativeEndian.PutUint64(stats[i*8:], uint64(i))
	}
	binary.NativeEndian.PutUint64(stats[12*8:], 0)
	want := map[string]uint64{
		"rx_dropped": 6, "tx_dropped": 7, "rx_length_errors": 10, "rx_over_errors": 11, "rx_frame_errors": 13, "rx_fifo_errors": 14,
		"rx_missed_errors": 15, "tx_aborted_errors": 16, "tx_carrier_errors": 17, "tx_fifo_errors": 18,
	}
	if got := parseErrors(stats); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := parseErrors(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}
