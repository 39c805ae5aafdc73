package diagnose

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
)

// PeerKey is another node, and whether its round trips are those of handshakes alone: others wait for delayed acknowledgements.
type PeerKey struct {
	Node      string `json:"node"` // see aggregate.PeerRTT
	Handshake bool   `json:"handshake,omitempty"`
}

// PeerBaseline is the usual round trip to another node: the shortest of each minute (leastQuantile), learnt as a stage's usual p50
// is. How far a node is does not depend on the load.
type PeerBaseline struct {
	PeerKey
	RTT float64 `json:"rtt_seconds"`
	learnt
}

const (
	// farKnownAfter is after how many minutes a round trip is known that is longer than sites are apart: it may have been a fault from
	// the start on.
	farKnownAfter = 60
	// minPeerSamples is how many round trips a minute needs.
	minPeerSamples = 5
)

// LearnPeers takes a minute's round trips. Where these are slow against what is known, they do not count for the first minutes, and
// later no more than drift lets them: a way that has become longer for good is usual again after days, and is no fault for ever.
func (b *Baseline) LearnPeers(pairs []aggregate.Pair, found []Finding, now time.Time) {
	if b.peers == nil {
		b.peers = make(map[PeerKey]*PeerBaseline)
	}
	slow := slices.ContainsFunc(found, func(f Finding) bool { return f.Cause == RemoteDelay && f.HasBaseline() })
	for key, rtt := range roundTrips(pairs) {
		least := rtt.Quantile(leastQuantile)
		if rtt.Count() < minPeerSamples || least <= 0 {
			continue
		}
		u := b.peers[key]
		if u == nil {
			if len(b.peers) >= maxBaseline {
				continue
			}
			u = &PeerBaseline{PeerKey: key, RTT: least}
			b.peers[key] = u
		}
		if slow && u.Minutes < firstMinutes && u.known() {
			continue
		}
		u.RTT = u.learn(u.RTT, least, now)
	}
	maps.DeleteFunc(b.peers, func(_ PeerKey, u *PeerBaseline) bool { return u.isForgotten(now) })
}

// roundTrips are those of all pairs together, to other nodes of the cluster.
func roundTrips(pairs []aggregate.Pair) map[PeerKey]*hist.Histogram {
	all := map[PeerKey]*hist.Histogram{}
	add := func(key PeerKey, rtt *hist.Histogram) {
		if all[key] == nil {
			all[key] = &hist.Histogram{}
		}
		all[key].Merge(rtt)
	}
	for i := range pairs {
		p := &pairs[i]
		if !leavesForCluster(p) {
			continue
		}
		for j := range p.TCP.Peers {
			peer := &p.TCP.Peers[j]
			add(PeerKey{peer.Node, false}, &peer.RTT)
			add(PeerKey{peer.Node, true}, &peer.HandshakeRTT)
		}
	}
	return all
}

// known tells whether enough was learnt.
func (u *PeerBaseline) known() bool {
	if u.RTT >= longestRoundTrip(u.Handshake) {
		return u.Minutes >= farKnownAfter
	}
	return u.Minutes >= knownAfter
}

// PeerRTT are the usual round trips in seconds, of the nodes where they are known.
func (b *Baseline) PeerRTT() map[PeerKey]float64 {
	known := make(map[PeerKey]float64, len(b.peers))
	for key, u := range b.peers {
		if u.known() {
			known[key] = u.RTT
		}
	}
	return known
}

// Peers is all that was learnt of other nodes, in order, to be kept for the next start.
func (b *Baseline) Peers() []PeerBaseline {
	peers := make([]PeerBaseline, 0, len(b.peers))
	for _, u := range b.peers {
		peer := *u
		peer.First = slices.Clone(u.First)
		peers = append(peers, peer)
	}
	slices.SortFunc(peers, func(x, y PeerBaseline) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Minutes, y.Minutes), cmp.Compare(x.RTT, y.RTT))
	})
	return peers
}

// RestorePeers takes what was kept. What makes no sense is left out.
func (b *Baseline) RestorePeers(peers []PeerBaseline) {
	b.peers = make(map[PeerKey]*PeerBaseline, len(peers))
	for _, u := range peers {
		if u.RTT > 0 && !math.IsInf(u.RTT, 0) && u.Node != "" && len(b.peers) < maxBaseline {
			b.peers[u.PeerKey] = &u
		}
	}
}
