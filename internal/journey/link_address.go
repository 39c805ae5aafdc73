package journey

import (
	"net/netip"
	"slices"

	"tracer/internal/record"
)

// staysOnLink tells of a packet that it is none of a pod's traffic with others, whatever becomes of it: one from or to
// an address that means something on one link alone, as of neighbour and router discovery, DHCP, mDNS, or that is
// everybody's. Pods send such packets to overlays and bridges that have no use for them.
func (d *Devices) staysOnLink(rec *record.Record) bool {
	from, to := rec.First.Source, rec.Last.Destination
	return d.linkAddress(from) || d.linkAddress(to)
}

func (d *Devices) linkAddress(a netip.AddrPort) bool {
	const dns = 53
	addr := a.Addr()
	switch {
	case addr.IsMulticast(), addr.IsUnspecified(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return true
	case addr.IsLinkLocalUnicast():
		// Pods' resolvers have such addresses: NodeLocal DNSCache (169.254.20.10), and clouds'.
		return !(addr.Is4() && a.Port() == dns)
	}
	return slices.Contains(d.broadcasts, addr)
}
