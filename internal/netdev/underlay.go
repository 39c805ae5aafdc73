package netdev

import "net/netip"

// Tunnel is what is known of the way of an overlay device's packets to its other ends. What could not be found out is 0.
type Tunnel struct {
	Device string `json:"device"`
	// Largest is the largest IP packet, in bytes, that a route leads into the device: its MTU, or less where all routes say so.
	// 0 if no route leads into it: what BPF programs send there has limits of their own.
	Largest int `json:"largest_packet"`
	// Header is how many bytes the tunnel adds to an IP packet.
	Header int `json:"header"`
	// Peer is the other end to which the way takes least, Uplink the device that the route to it leads through, and MTU the largest
	// packet that the route takes, in bytes.
	Peer   netip.Addr `json:"peer"`
	Uplink string     `json:"uplink"`
	MTU    int        `json:"uplink_mtu"`
}

// Excess is by how many bytes the tunnel's largest packet with its header exceeds what the way to a peer takes; 0 if it fits,
// or if that is not known.
func (t *Tunnel) Excess() int {
	if t.Largest == 0 || t.MTU == 0 || t.Header == 0 {
		return 0
	}
	return max(0, t.Largest+t.Header-t.MTU)
}

// TunnelHeader is how many bytes a device of that kind adds to an IP packet on its way to a peer of that address; 0 if that is
// not known. Options (of geneve, a key of gre) come on top.
func TunnelHeader(kind string, peer netip.Addr) int {
	const (
		ethernet  = 14
		udp       = 8
		vxlan     = 8 // as long as geneve without options
		gre       = 4
		wireguard = 16 + 16 // type, receiver, counter; the tag
	)
	outer := 20
	if peer.Is6() && !peer.Is4In6() {
		outer = 40
	}
	switch kind {
	case "ipip", "sit", "ip6tnl":
		return outer
	case "gre", "ip6gre":
		return outer + gre
	case "gretap", "ip6gretap":
		return outer + gre + ethernet
	case "vxlan", "geneve":
		return outer + udp + vxlan + ethernet
	case "wireguard":
		return outer + udp + wireguard
	}
	return 0
}
