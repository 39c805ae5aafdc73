// Package netdev describes the network devices of a namespace: their roles, their qdisc trees, what they count and what
// changed about them. It is pure data; internal/device reads it from netlink.
package netdev

import (
	"net/netip"
	"time"
)

// Device is a network device of the traced namespace at one time.
type Device struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
	Kind  string `json:"kind"` // rtnetlink's: "veth", "vxlan", "ipip" …; "" for hardware
	Role  Role   `json:"role"`
	Up    bool   `json:"up"`
	// NoCarrier tells of a device that is up that nothing is connected to it.
	NoCarrier bool `json:"no_carrier,omitempty"`
	MTU       int  `json:"mtu"`
	// Leaves tells that packets leave the namespace here, or our sight: at a pod's device, at a tunnel's that is not looked into
	// (WireGuard), and at the uplink that hands them to no other (no VLAN, no bond).
	Leaves bool `json:"lowest"`
	// Lower are the indexes of the devices of this namespace that it hands its packets to: a VLAN's parent, the
	// slaves of a bond or a bridge, the virtual function of a netvsc. A tunnel's underlay is none, nor is what a MACsec device
	// encrypts for.
	Lower []int `json:"lower,omitempty"`
	// Ethernet tells whether packets at tc start with a link-layer header.
	Ethernet bool `json:"ethernet"`
	// TunnelPort is the UDP destination port of a vxlan or geneve device, else 0.
	TunnelPort uint16 `json:"tunnel_port,omitempty"`
	// XDP tells that an XDP program runs there: before tc, and before the device's own counters say who took a packet.
	XDP bool `json:"xdp,omitempty"`
	// PeerNetns is the id by which this namespace knows that of the device's other end; nil where both ends are here.
	PeerNetns *int `json:"peer_netns,omitempty"`
	// PodEnd is, of a pod's device, the pod's own end of it; nil where nothing is known of that.
	PodEnd *PodEnd `json:"pod_end,omitempty"`
	// EgressUnseen tells, of a device that is to have our egress hook, that packets may wait in its root qdisc, and that the hook is not there
	// or does not see all that come.
	EgressUnseen bool `json:"egress_unseen,omitempty"`
	// Broadcasts are the broadcast addresses of its IPv4 subnets.
	Broadcasts []netip.Addr `json:"broadcasts,omitempty"`
	// Workload is the one whose pod is behind a pod's device or alone sends through an ifb, as namespace/name; "" where that is
	// not known.
	Workload string `json:"workload,omitempty"`
	// Bandwidth is how many bits a second a pod's annotation lets through this device: of a pod's device what the pod is to receive
	// at most, of an ifb what it is to send; 0 where it has none or that is not known.
	Bandwidth uint64 `json:"bandwidth_bits,omitempty"`
	// EgressBandwidth is, of a pod's device, how many bits a second the pod is to send at most, by its annotation.
	EgressBandwidth uint64 `json:"egress_bandwidth_bits,omitempty"`
	// Policer is, of a pod's device, how many bits a second tc's policer lets the pod send; 0 without one, or where it was not asked for.
	Policer uint64 `json:"policer_bits,omitempty"`
	// RedirectedFrom are, of an ifb, the indexes of the devices whose received packets tc redirects to it.
	RedirectedFrom []int `json:"redirected_from,omitempty"`
	// Traffic is what the device itself has counted, of whatever kind.
	Traffic Traffic `json:"traffic"`
	// Errors are, of an uplink, its counters of errors and drops (struct rtnl_link_stats64), without those that are 0.
	Errors map[string]uint64 `json:"errors,omitempty"`
	// Clsact tells that it has a clsact or ingress qdisc, to which tc's filters belong. Programs at tcx need none.
	Clsact bool `json:"clsact,omitempty"`
	// Root is the root qdisc of the way out; its Kind is "noqueue" where nothing is queued.
	Root Qdisc `json:"root_qdisc"`
	// Changed is when the root qdisc's tree was last seen to change; zero if never since start.
	Changed time.Time `json:"qdisc_changed,omitzero"`
}

// CountsWhatHooksSee tells whether the device's own counters count the packets that come to its tc hooks. A bond counts also what
// its inactive slaves receive, as a device does that has a virtual function under it, and a device with XDP what that takes. WireGuard's
// counts its handshakes and keepalives too.
func (d *Device) CountsWhatHooksSee() bool {
	return !d.XDP && d.Kind != "wireguard" && (len(d.Lower) == 0 || d.Kind != "" && d.Kind != "bond" && d.Kind != "team")
}

// Traffic counts what a device has received and sent since it was made, as ip -s link shows it.
type Traffic struct {
	RxPackets uint64 `json:"rx_packets"`
	TxPackets uint64 `json:"tx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	TxBytes   uint64 `json:"tx_bytes"`
	RxDrops   uint64 `json:"rx_drops"`
	TxDrops   uint64 `json:"tx_drops"`
	// RxMulticast is how many of those received were for a group; virtual devices count none.
	RxMulticast uint64 `json:"rx_multicast"`
}
