package netdev

// SeesInto tells of a kind of tunnel whether the programs find the inner packet in the outer one (bpf/tunnel.bpf.h). A packet
// that any other overlay device sends is followed up to that device's driver: what comes out below it is another packet, one of
// the node's own, and so is what comes in.
func SeesInto(kind string) bool {
	switch kind {
	case "ipip", "sit", "ip6tnl", "vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap":
		return true
	}
	return false
}

// Hides tells whether packets end at the device because what its driver makes of them is not known again.
func (d *Device) Hides() bool {
	return d.Leaves && (d.Role == RoleOverlay || d.Kind == "macsec")
}
