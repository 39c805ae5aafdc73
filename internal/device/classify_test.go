package device

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"tracer/internal/netdev"

	"golang.org/x/sys/unix"
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// TestRoles describes nodes as CNI plugins make them. An asterisk marks the devices where packets leave.
func TestRoles(t *testing.T) {
	t.Parallel()
	lo := link{index: 1, name: "lo", loopback: true, up: true, encap: unix.ARPHRD_LOOPBACK, addresses: nil}
	tests := []struct {
		name  string
		links []link
		want  map[string]string
	}{
		{"calico ipip on hardware", []link{
			lo,
			{index: 2, name: "ens5", up: true, addresses: prefixes("10.0.0.4/24"), defaultRoute: true},
			{index: 3, name: "ens6", up: true, addresses: prefixes("10.0.1.4/24")},
			{index: 4, name: "tunl0", kind: "ipip", up: true, encap: unix.ARPHRD_TUNNEL, addresses: prefixes("10.244.1.0/32")},
			{index: 5, name: "gre0", kind: "gre", encap: unix.ARPHRD_IPGRE},
			{index: 6, name: "cali0123456789a", kind: "veth", foreign: true, up: true},
			{index: 7, name: "kube-ipvs0", kind: "dummy", addresses: prefixes("10.96.0.1/32")},
		}, map[string]string{"lo": "other", "ens5": "uplink*", "ens6": "uplink*", "tunl0": "overlay", "gre0": "other",
			"cali0123456789a": "pod*", "kube-ipvs0": "other"}},

		{"flannel in kind: the node's eth0 is a veth", []link{
			lo,
			{index: 2, name: "eth0", kind: "veth", foreign: true, addresses: prefixes("172.18.0.2/16"), defaultRoute: true},
			{index: 3, name: "flannel.1", kind: "vxlan", underlay: 2, addresses: prefixes("10.244.0.0/32")},
			{index: 4, name: "cni0", kind: "bridge", addresses: prefixes("10.244.0.1/24")},
			{index: 5, name: "veth0a1b2c3d", kind: "veth", foreign: true, master: 4},
		}, map[string]string{"lo": "other", "eth0": "uplink*", "flannel.1": "overlay", "cni0": "bridge", "veth0a1b2c3d": "pod*"}},

		{"kindnet and GKE: the gateway's address on every pod's veth", []link{
			{index: 2, name: "eth0", kind: "veth", foreign: true, addresses: prefixes("172.18.0.2/16", "fc00::2/64"), defaultRoute: true},
			{index: 3, name: "veth11111111", kind: "veth", foreign: true, addresses: prefixes("10.244.0.1/32")},
			{index: 4, name: "vethwe", kind: "veth", foreign: true, addresses: prefixes("10.8.0.1/24")},
			{index: 5, name: "vethwf", kind: "veth", foreign: true, addresses: prefixes("10.8.0.1/24")},
			{index: 6, name: "gke0123456789a", kind: "veth", foreign: true, addresses: prefixes("10.9.0.1/24")},
		}, map[string]string{"eth0": "uplink*", "veth11111111": "pod*", "vethwe": "pod*", "vethwf": "pod*", "gke0123456789a": "pod*"}},

		{"lab: a second card without a default route, one that only a tunnel is bound to, one in a bridge", []link{
			{index: 2, name: "eth0", kind: "veth", foreign: true, defaultRoute: true},
			{index: 3, name: "eth1", kind: "veth", foreign: true, addresses: prefixes("10.1.0.2/24")},
			{index: 4, name: "eth2", kind: "veth", foreign: true},
			{index: 5, name: "vxlan0", kind: "vxlan", underlay: 4},
			{index: 6, name: "br0", kind: "bridge", defaultRoute: true},
			{index: 7, name: "eth3", kind: "veth", foreign: true, master: 6},
		}, map[string]string{"eth0": "uplink*", "eth1": "uplink*", "eth2": "uplink*", "vxlan0": "overlay", "br0": "bridge", "eth3": "pod*"}},

		{"cilium: a veth pair of the node itself, netkit pods", []link{
			{index: 2, name: "eth0", defaultRoute: true},
			{index: 3, name: "cilium_net", kind: "veth", parent: 4},
			{index: 4, name: "cilium_host", kind: "veth", parent: 3, addresses: prefixes("10.0.1.7/32"), defaultRoute: true},
			{index: 5, name: "cilium_vxlan", kind: "vxlan"},
			{index: 6, name: "cilium_wg0", kind: "wireguard", encap: unix.ARPHRD_NONE},
			{index: 7, name: "lxc0123456789ab", kind: "netkit", foreign: true},
			{index: 8, name: "lxc_health", kind: "veth", foreign: true},
		}, map[string]string{"eth0": "uplink*", "cilium_net": "other", "cilium_host": "other", "cilium_vxlan": "overlay",
			"cilium_wg0": "overlay*", "lxc0123456789ab": "pod*", "lxc_health": "pod*"}},

		{"VLAN on a bond", []link{
			{index: 5, name: "bond0.100", kind: "vlan", parent: 4, addresses: prefixes("10.0.0.4/24")},
			{index: 2, name: "eno1", master: 4},
			{index: 3, name: "eno2", master: 4},
			{index: 4, name: "bond0", kind: "bond"},
			{index: 6, name: "dummy0", kind: "dummy"},
			{index: 7, name: "dummy0.1", kind: "vlan", parent: 6},
			{index: 8, name: "macvlan0", kind: "macvlan", parent: 5},
		}, map[string]string{"bond0": "uplink", "bond0.100": "uplink", "eno1": "uplink*", "eno2": "uplink*", "dummy0": "other",
			"dummy0.1": "other", "macvlan0": "uplink"}},

		{"hardware in a bridge, with a VLAN on top, and pods' bridge with one", []link{
			{index: 2, name: "eth0", master: 3},
			{index: 3, name: "br0", kind: "bridge", defaultRoute: true},
			{index: 4, name: "br0.7", kind: "vlan", parent: 3},
			{index: 5, name: "cni0", kind: "bridge"},
			{index: 6, name: "veth1", kind: "veth", foreign: true, master: 5},
			{index: 7, name: "cni0.7", kind: "vlan", parent: 5},
		}, map[string]string{"eth0": "uplink*", "br0": "bridge", "br0.7": "uplink*", "cni0": "bridge", "veth1": "pod*", "cni0.7": "other"}},

		{"netvsc over its virtual function, and one whose function is down", []link{
			{index: 2, name: "eth0", up: true},
			{index: 3, name: "enP1", up: true, master: 2},
			{index: 4, name: "eth1", up: true},
			{index: 5, name: "enP2", master: 4},
		}, map[string]string{"eth0": "uplink", "enP1": "uplink*", "eth1": "uplink*", "enP2": "uplink*"}},

		{"open vswitch", []link{
			{index: 2, name: "eth0", master: 3},
			{index: 3, name: "ovs-system", kind: "openvswitch"},
			{index: 4, name: "br-ex", kind: "openvswitch", addresses: prefixes("10.0.0.4/24"), defaultRoute: true},
			{index: 5, name: "a1b2c3d4e5f6a7b", kind: "veth", foreign: true, master: 3},
			{index: 6, name: "genev_sys_6081", kind: "geneve"},
		}, map[string]string{"eth0": "uplink*", "ovs-system": "bridge", "br-ex": "bridge", "a1b2c3d4e5f6a7b": "pod*", "genev_sys_6081": "overlay"}},

		{"node as a container with a macvlan, a VLAN whose parent is elsewhere under the same index, ifb, tap", []link{
			{index: 2, name: "eth0", kind: "macvlan", foreign: true, parent: 3, defaultRoute: true},
			{index: 3, name: "ifb0", kind: "ifb"},
			{index: 4, name: "eth1", kind: "vlan", foreign: true, parent: 3},
			{index: 5, name: "tap0", kind: "tun"},
			{index: 6, name: "tunl0", kind: "ipip"},
		}, map[string]string{"eth0": "uplink*", "ifb0": "ifb", "eth1": "uplink*", "tap0": "other", "tunl0": "other"}},

		{"tunnels that are not looked into, by their kind or by what they carry; MACsec under a VLAN", []link{
			{index: 2, name: "eth0", defaultRoute: true, encap: unix.ARPHRD_ETHER},
			{index: 3, name: "wg0", kind: "wireguard", encap: unix.ARPHRD_NONE},
			{index: 4, name: "ipsec0", kind: "xfrm", parent: 2, encap: unix.ARPHRD_NONE},
			{index: 5, name: "tun0", kind: "tun", up: true, encap: unix.ARPHRD_NONE},
			{index: 6, name: "tap0", kind: "tun", up: true, encap: unix.ARPHRD_ETHER},
			{index: 7, name: "ppp0", kind: "ppp", up: true, encap: unix.ARPHRD_PPP},
			{index: 8, name: "gtp0", kind: "gtp", up: true, encap: unix.ARPHRD_NONE},
			{index: 9, name: "new0", kind: "a kind of 2040", up: true, encap: unix.ARPHRD_NONE},
			{index: 10, name: "nlmon0", kind: "nlmon", up: true, encap: unix.ARPHRD_NETLINK},
			{index: 14, name: "tun1", kind: "tun", encap: unix.ARPHRD_NONE},
			{index: 11, name: "macsec0", kind: "macsec", parent: 2, encap: unix.ARPHRD_ETHER},
			{index: 12, name: "macsec0.7", kind: "vlan", parent: 11, encap: unix.ARPHRD_ETHER},
			{index: 13, name: "tunl0", kind: "ipip", up: true, encap: unix.ARPHRD_TUNNEL},
		}, map[string]string{"eth0": "uplink*", "wg0": "overlay*", "ipsec0": "overlay*", "tun0": "overlay*", "tap0": "other",
			"ppp0": "overlay*", "gtp0": "overlay*", "new0": "overlay*", "nlmon0": "other", "macsec0": "uplink*", "macsec0.7": "uplink",
			"tunl0": "overlay", "tun1": "other"}},

		{"InfiniBand with a partition, a modem with its channels, and one that the kernel gives no kind", []link{
			{index: 2, name: "ib0", kind: "ipoib", encap: unix.ARPHRD_INFINIBAND, defaultRoute: true},
			{index: 3, name: "ib0.8001", kind: "ipoib", parent: 2, encap: unix.ARPHRD_INFINIBAND},
			{index: 4, name: "ib1", encap: unix.ARPHRD_INFINIBAND},
			{index: 5, name: "wwan0", kind: "wwan", encap: unix.ARPHRD_RAWIP},
			{index: 6, name: "wwan1", encap: unix.ARPHRD_NONE},
			{index: 7, name: "rmnet0", kind: "rmnet", parent: 6, encap: unix.ARPHRD_RAWIP},
			{index: 8, name: "vxlan0", kind: "vxlan", underlay: 2, encap: unix.ARPHRD_ETHER},
		}, map[string]string{"ib0": "uplink*", "ib0.8001": "uplink*", "ib1": "uplink*", "wwan0": "uplink*", "wwan1": "uplink*",
			"rmnet0": "uplink*", "vxlan0": "overlay"}},

		{"devices that stand on each other, as a list read amid changes may say", []link{
			{index: 2, name: "a", kind: "vlan", parent: 3},
			{index: 3, name: "b", kind: "vlan", parent: 2},
		}, map[string]string{"a": "other", "b": "other"}},
	}
	for _, test := range tests {
		got := make(map[string]string)
		for _, d := range newState(test.links, nil, nil).Devices {
			got[d.Name] = d.Role.String()
			if d.Leaves {
				got[d.Name] += "*"
			}
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%s:\n got %v\nwant %v", test.name, got, test.want)
		}
	}
}

func TestLower(t *testing.T) {
	t.Parallel()
	state := newState([]link{
		{index: 7, name: "bond0.100", kind: "vlan", parent: 4},
		{index: 2, name: "eno1", master: 4},
		{index: 3, name: "eno2", master: 4},
		{index: 4, name: "bond0", kind: "bond"},
		{index: 5, name: "vxlan0", kind: "vxlan", underlay: 4},
	}, nil, nil)
	want := map[string][]int{"eno1": nil, "eno2": nil, "bond0": {2, 3}, "bond0.100": {4}, "vxlan0": nil}
	got := make(map[string][]int)
	for _, d := range state.Devices {
		got[d.Name] = d.Lower
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !slices.IsSortedFunc(state.Devices, func(a, b netdev.Device) int { return a.Index - b.Index }) {
		t.Error("devices are not in the order of their index")
	}
}

func TestStateAddresses(t *testing.T) {
	t.Parallel()
	state := newState([]link{
		{index: 3, name: "eth0", addresses: prefixes("10.0.0.4/24", "fd00::4/64")},
		{index: 4, name: "veth1", kind: "veth", addresses: prefixes("10.244.0.1/32")},
		{index: 5, name: "veth2", kind: "veth", addresses: prefixes("10.244.0.1/32")},
		{index: 6, name: "kube-ipvs0", kind: "dummy", addresses: prefixes("10.96.0.1/32")},
	}, nil, nil)
	want := []netip.Addr{netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("fd00::4")}
	if !slices.Equal(state.Addresses, want) {
		t.Errorf("got %v, want %v", state.Addresses, want)
	}
}

// TestEthernet tells the devices whose packets begin with an Ethernet header from those that have another one, or none.
func TestEthernet(t *testing.T) {
	t.Parallel()
	for encap, want := range map[uint16]bool{
		unix.ARPHRD_ETHER: true, unix.ARPHRD_LOOPBACK: true, unix.ARPHRD_INFINIBAND: false, unix.ARPHRD_NONE: false,
		unix.ARPHRD_RAWIP: false, unix.ARPHRD_PPP: false, unix.ARPHRD_TUNNEL: false,
	} {
		if got := (&link{encap: encap}).ethernet(); got != want {
			t.Errorf("type %d: %v, want %v", encap, got, want)
		}
	}
}
