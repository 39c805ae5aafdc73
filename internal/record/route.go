package record

import "net/netip"

// RouteLookup is what the kernel's tables say of packets that were lost: soon after, as no packet says it of itself. What is
// not known is empty.
type RouteLookup struct {
	Destination netip.Addr `json:"destination"`
	Source      netip.Addr `json:"source,omitzero"`
	Device      string     `json:"device,omitempty"` // where they came in; of a pod's own packets, the pod's device on this side
	Reason      string     `json:"reason,omitempty"` // of the loss, as Record has them
	Location    string     `json:"location,omitempty"`
	Packets     uint64     `json:"packets,omitempty"` // that were lost so lately, on their way to that destination

	// InPod tells that route and neighbour are those of the pod's own network namespace.
	InPod bool `json:"in_pod,omitempty"`
	// Result is the kind of rule or route by which the kernel refuses them: "blackhole", "unreachable", "prohibit", "there is no
	// route"; "" where a route leads on.
	Result string `json:"says"`
	// Rule is the one of policy routing that decided, as ip rule shows it; "" where it is one that every namespace has.
	Rule string `json:"rule,omitempty"`
	// Route is the entry that matched, as ip route shows it; "" where a rule refuses them, or there is none. Block tells that
	// it is of more than one address.
	Route string `json:"route,omitempty"`
	Block bool   `json:"block,omitempty"`
	// Disabled is the sysctl that keeps packets of that family from being forwarded from the device.
	Disabled string `json:"disabled,omitempty"`

	NextHop  netip.Addr `json:"next_hop,omitzero"` // the gateway, or the destination where that is on a link
	Out      string     `json:"out,omitempty"`     // the device that the route leads to
	OutIsPod bool       `json:"out_is_pod,omitempty"`
	// OutState is "down" or "without a carrier"; "" of one that is up.
	OutState string `json:"out_state,omitempty"`
	// Neighbour is the state of the next hop's entry, as ip neigh shows it; "" where there is none. LinkAddress is the MAC in it.
	Neighbour   string `json:"neighbour,omitempty"`
	LinkAddress string `json:"link_address,omitempty"`
	// Node is where a vxlan device sends frames for that MAC. NoForwardingEntry tells that its forwarding database has no entry
	// for it.
	Node              netip.Addr `json:"node,omitzero"`
	NoForwardingEntry bool       `json:"no_forwarding_entry,omitempty"`
	// PeerAddress is the MAC of the pod's own end of the device that the route leads to, and PeerDown that it is down.
	PeerAddress string `json:"peer_address,omitempty"`
	PeerDown    bool   `json:"peer_down,omitempty"`
	// GatewaySilent says why this node does not answer ARP for the next hop of a pod.
	GatewaySilent string `json:"gateway_silent,omitempty"`

	// FrameAddress is the MAC that the frames of missent packets were for, and DeviceAddress that of the device they came to.
	FrameAddress  string `json:"frame_address,omitempty"`
	DeviceAddress string `json:"device_address,omitempty"`

	// Table is how full the neighbour table is, of a loss for want of room in it.
	Table *NeighbourTable `json:"table,omitempty"`
}

// NeighbourTable is how full one of the kernel's neighbour tables is: IPv4's or IPv6's, one for all network namespaces.
type NeighbourTable struct {
	Entries uint64 `json:"entries"`
	Limit   uint64 `json:"limit"`    // gc_thresh3
	Fulls   uint64 `json:"overflow"` // how often it was full since the machine started
	Sysctl  string `json:"sysctl"`   // of the limit
}
