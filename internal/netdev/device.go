// Package netdev describes the network devices of a namespace: their roles, their qdisc trees, what they count and what
// changed about them. It is pure data; internal/device reads it from netlink.
package netdev

import (
	"fmt"
	"time"
)

// Role is what a network device is for on a Kubernetes node.
type Role uint8

// The roles of devices.
const (
	RoleOther   Role = iota
	RolePod          // host side of a pod's veth or netkit
	RoleOverlay      // ipip, vxlan, geneve, wireguard, ip6tnl, gre, sit
	RoleUplink       // underlay, and what it stacks on: bond, VLAN, slaves
	RoleBridge
	RoleIFB
)

var roleNames = [...]string{"other", "pod", "overlay", "uplink", "bridge", "ifb"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// MarshalText writes the role's name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a role's name.
func (r *Role) UnmarshalText(text []byte) error {
	for i, name := range roleNames {
		if name == string(text) {
			*r = Role(i)
			return nil
		}
	}
	return fmt.Errorf("unknown role %q", text)
}

// Device is a network device of the traced namespace at one moment.
type Device struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
	Kind  string `json:"kind"` // rtnetlink's: "veth", "vxlan", "ipip" …; "" for hardware
	Role  Role   `json:"role"`
	Up    bool   `json:"up"`
	// NoCarrier tells of a device that is up that nothing is connected to it.
	NoCarrier bool `json:"no_carrier,omitempty"`
	MTU       int  `json:"mtu"`
	// Lowest tells an uplink (or pod device) where a packet leaves the namespace from one that others lie
	// under (a VLAN, a bond).
	Lowest bool `json:"lowest"`
	// Lower are the indexes of the devices of this namespace that it hands its packets to: a VLAN's parent, the
	// slaves of a bond or a bridge, the virtual function of a netvsc. A tunnel's underlay is none.
	Lower []int `json:"lower,omitempty"`
	// Ethernet tells whether packets at tc start with a link-layer header.
	Ethernet bool `json:"ethernet"`
	// TunnelPort is the UDP destination port of a vxlan or geneve device, else 0.
	TunnelPort uint16 `json:"tunnel_port,omitempty"`
	// PeerNetns is the id by which this namespace knows that of the device's other end; nil where both ends are here.
	PeerNetns *int `json:"peer_netns,omitempty"`
	// Bandwidth is, of a pod's device, how many bits a second the pod is to receive at most, by its annotation; 0 where it
	// has none or that is not known.
	Bandwidth uint64 `json:"bandwidth_bits,omitempty"`
	// Traffic is what the device itself has counted, of whatever kind.
	Traffic Traffic `json:"traffic"`
	// Root is the root qdisc of the way out; its Kind is "noqueue" where nothing is queued.
	Root Qdisc `json:"root_qdisc"`
	// Changed is when the root qdisc's tree was last seen to change; zero if never since start.
	Changed time.Time `json:"qdisc_changed,omitzero"`
}

// Traffic counts what a device has received and sent since it was made, as ip -s link shows it.
type Traffic struct {
	RxPackets uint64 `json:"rx_packets"`
	TxPackets uint64 `json:"tx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	TxBytes   uint64 `json:"tx_bytes"`
	RxDrops   uint64 `json:"rx_drops"`
	TxDrops   uint64 `json:"tx_drops"`
}

// Qdisc is a queueing discipline or a class of one, with what hangs under it. Fields that a kind does not have
// are zero.
type Qdisc struct {
	Kind   string `json:"kind"`             // "htb", "netem", "fq_codel", "noqueue" …
	Class  bool   `json:"class,omitempty"`  // a class of the qdisc above it
	Handle string `json:"handle,omitempty"` // as tc prints it: "10:", "10:1"

	Delay     time.Duration `json:"delay,omitempty"`      // netem's, mean
	Jitter    time.Duration `json:"jitter,omitempty"`     // netem's
	Loss      float64       `json:"loss,omitempty"`       // netem's, 0 to 1
	Duplicate float64       `json:"duplicate,omitempty"`  // netem's, 0 to 1
	Corrupt   float64       `json:"corrupt,omitempty"`    // netem's, 0 to 1
	RateBits  uint64        `json:"rate_bits,omitempty"`  // bits/s: tbf, netem, htb class
	CeilBits  uint64        `json:"ceil_bits,omitempty"`  // bits/s: htb class
	Burst     uint64        `json:"burst,omitempty"`      // bytes: tbf, htb class
	Limit     uint64        `json:"limit,omitempty"`      // what the queue holds at most, in LimitUnit
	LimitUnit string        `json:"limit_unit,omitempty"` // "packets" or "bytes"
	Target    time.Duration `json:"target,omitempty"`     // codel's and fq_codel's aim
	Interval  time.Duration `json:"interval,omitempty"`   // codel's and fq_codel's
	Flows     uint32        `json:"flows,omitempty"`      // fq_codel's
	Default   uint32        `json:"default,omitempty"`    // htb's default class

	Packets        uint64 `json:"packets"` // sent since it was made, in segments
	Bytes          uint64 `json:"bytes"`
	Drops          uint64 `json:"drops"` // sk_buffs dropped since it was made
	Overlimits     uint64 `json:"overlimits"`
	Requeues       uint64 `json:"requeues"`
	BacklogBytes   uint64 `json:"backlog_bytes"`
	BacklogPackets uint64 `json:"backlog_packets"`

	Children []Qdisc `json:"children,omitempty"`
}
