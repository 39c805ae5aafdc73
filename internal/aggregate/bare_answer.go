package aggregate

import (
	"net/netip"
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// BareAnswers are answers that came to a client on this node with the server's own address, though it had asked another one, a
// Service's, and that met no socket there. Counts are since the start.
type BareAnswers struct {
	Packets uint64         `json:"packets"`
	Seconds uint64         `json:"in_seconds"` // in which there were any
	Asked   netip.AddrPort `json:"asked"`      // by the client of the last of them
	Server  netip.AddrPort `json:"server"`     // that answered it

	last time.Duration // the last such second
}

// since is what was added after old.
func (b BareAnswers) since(old BareAnswers) BareAnswers {
	b.Packets -= min(b.Packets, old.Packets)
	b.Seconds -= min(b.Seconds, old.Seconds)
	return b
}

// addBareAnswer counts a packet that was freed in a pod if it is one: between two pods of this node, untranslated, to a port from
// which NAT had sent the client's packets there.
func (a *Aggregator) addBareAnswer(rec *record.Record, path *journey.Path, factor uint64) {
	if path.Direction != journey.Local || path.Where.Stage != journey.Deliver || rec.First != rec.Last || !metNoSocket(rec) {
		return
	}
	f := a.flow(rec, path.Direction)
	c, end := a.conversation(f)
	if c == nil || end != server || f.pair.other || !c.served.has(rec.Last.Destination.Port()) {
		return
	}
	b := &f.pair.BareAnswers
	b.Packets += factor
	b.Asked, b.Server = netip.AddrPortFrom(netip.AddrFrom16(c.end[client].asked).Unmap(), c.end[client].askedPort), rec.First.Source
	countSecond(&b.Seconds, &b.last, rec.Time)
	f.pair.changed, f.pair.lastSeen = true, rec.Time
}

// metNoSocket tells of a packet that was freed in a pod whether it was for no socket there.
func metNoSocket(rec *record.Record) bool {
	switch rec.Reason {
	case "NO_SOCKET":
		return true
	case "", journey.NotSpecified:
		switch journey.FunctionName(rec.Location) {
		case "tcp_v4_rcv", "tcp_v6_rcv", "__udp4_lib_rcv", "__udp6_lib_rcv":
			return true
		}
	}
	return false
}
