package aggregate

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/record"
)

// Blocked is what one end of a conversation sent of which all was lost on this node, since something of it last passed. Among what
// its pair sends otherwise it may not be noticed. Times are seconds before the snapshot.
type Blocked struct {
	PairKey
	Destination netip.AddrPort  `json:"destination"` // of the port only the server's is known
	Protocol    record.Protocol `json:"protocol"`
	Packets     uint64          `json:"packets"`
	First       float64         `json:"first_seconds"`
	Last        float64         `json:"last_seconds"`
}

// minBlocked is how many packets it takes to be told of, and maxBlocked of how many conversations is told at most, those that
// lost most.
const minBlocked, maxBlocked = 5, 64

// blockade is what an end has lost since something of it last passed.
type blockade struct {
	first, last time.Duration
	packets     uint32
	pair        *pair
}

// lose counts a packet that was lost.
func (b *blockade) lose(at time.Duration, of *pair) {
	if b.packets == 0 || at-b.last > maxPause {
		*b = blockade{first: at}
	}
	b.last, b.pair = max(b.last, at), of
	b.packets++
}

// blocked are the conversations of which an end's packets are all lost.
func (a *Aggregator) blocked(taken time.Time) []Blocked {
	now := a.clock + taken.Sub(a.started)
	var found []Blocked
	for c := range a.conversations.all {
		for end := range c.end {
			b := &c.end[end].blockade
			if b.packets < minBlocked {
				continue
			}
			port := [2]uint16{server: c.port}
			found = append(found, Blocked{
				PairKey: b.pair.PairKey, Protocol: c.protocol, Packets: uint64(b.packets),
				Destination: netip.AddrPortFrom(netip.AddrFrom16(c.address[1-end]).Unmap(), port[1-end]),
				First:       max(0, now-b.first).Seconds(), Last: max(0, now-b.last).Seconds(),
			})
		}
	}
	slices.SortFunc(found, func(x, y Blocked) int {
		return cmp.Or(cmp.Compare(y.Packets, x.Packets), x.Destination.Compare(y.Destination), cmp.Compare(y.First, x.First))
	})
	return found[:min(len(found), maxBlocked)]
}
