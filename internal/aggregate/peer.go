package aggregate

import (
	"net/netip"
	"slices"

	"tracer/internal/hist"
)

// maxPeers is how many nodes of a pair's other end are told apart.
const maxPeers = 16

// PeerRTT are the round trips of a pair's connections to one node: how long they take depends on how far that is.
type PeerRTT struct {
	// Node is where the other end is; the pod's workload or the address where that is not known.
	Node         string         `json:"node"`
	RTT          hist.Histogram `json:"rtt"`
	HandshakeRTT hist.Histogram `json:"opening"` // of those, the handshakes'
}

// peerOf names where a connection's other end is, who has that address.
func peerOf(to Identity, address netip.Addr) string {
	switch {
	case to.Node != "":
		return to.Node
	case to.Namespace != "":
		return to.Namespace + "/" + workload(to)
	}
	return address.String()
}

// peer returns what is counted of a node, to be changed; nil if there is no room for it.
func (t *TCP) peer(node string) *PeerRTT {
	i := slices.IndexFunc(t.Peers, func(p PeerRTT) bool { return p.Node == node })
	switch {
	case i >= 0:
		return &t.Peers[i]
	case len(t.Peers) >= maxPeers:
		return nil
	}
	t.Peers = append(t.Peers, PeerRTT{Node: node})
	return &t.Peers[len(t.Peers)-1]
}

// clonePeers returns a copy that does not change any more.
func clonePeers(peers []PeerRTT) []PeerRTT {
	all := slices.Clone(peers)
	for i := range all {
		all[i].RTT, all[i].HandshakeRTT = all[i].RTT.Clone(), all[i].HandshakeRTT.Clone()
	}
	return all
}

// mergePeers adds what other counted.
func (t *TCP) mergePeers(other *TCP) {
	for i := range other.Peers {
		if p := t.peer(other.Peers[i].Node); p != nil {
			p.RTT.Merge(&other.Peers[i].RTT)
			p.HandshakeRTT.Merge(&other.Peers[i].HandshakeRTT)
		}
	}
}

// subPeers takes away what was counted by old.
func (t *TCP) subPeers(old *TCP) {
	for i := range t.Peers {
		p := &t.Peers[i]
		if at := slices.IndexFunc(old.Peers, func(o PeerRTT) bool { return o.Node == p.Node }); at >= 0 {
			p.RTT.Sub(&old.Peers[at].RTT)
			p.HandshakeRTT.Sub(&old.Peers[at].HandshakeRTT)
		}
	}
}
