package netdev

import (
	"net/netip"
	"time"
)

// Peer is another end of a WireGuard device.
type Peer struct {
	Device   string         `json:"device"`
	Endpoint netip.AddrPort `json:"endpoint"` // invalid if it is not known
	Allowed  []netip.Prefix `json:"allowed_ips"`
	// Handshake is when the last one was completed; zero if none ever was.
	Handshake time.Time `json:"latest_handshake"`
	RxBytes   uint64    `json:"rx_bytes"`
	TxBytes   uint64    `json:"tx_bytes"` // handshakes among them
}

// Has tells whether packets to an address go to this peer, if no other has a longer prefix.
func (p *Peer) Has(a netip.Addr) bool {
	for _, prefix := range p.Allowed {
		if prefix.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
