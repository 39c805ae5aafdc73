package aggregate

import (
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// socketKey is a flow as the end of a connection has it: what it sends as the first hook sees it, before NAT, what it
// receives as the last one does.
type socketKey struct {
	address  [2][16]byte
	port     [2]uint16
	received bool
}

func newSocketKey(flow *record.Flow, received bool) socketKey {
	return socketKey{
		address:  [2][16]byte{flow.Source.Addr().As16(), flow.Destination.Addr().As16()},
		port:     [2]uint16{flow.Source.Port(), flow.Destination.Port()},
		received: received,
	}
}

// sockets finds flows by what a socket knows of them. It is made anew when one is not found, at most once a second: so
// it costs nothing where flows are counted.
type sockets struct {
	flows map[socketKey]*flow
	made  time.Duration
}

// find returns a connection's flow; nil if there is none (yet).
func (a *Aggregator) find(key socketKey, now time.Duration) *flow {
	f := a.sockets.flows[key]
	if f != nil && !f.pair.gone && key == f.socketKey(key.received) { // it may have become another one's
		return f
	}
	if a.sockets.flows != nil && now < a.sockets.made+time.Second {
		return nil
	}
	if a.sockets.flows == nil {
		a.sockets.flows = make(map[socketKey]*flow)
	}
	clear(a.sockets.flows)
	a.sockets.made = now
	for f := a.recent.oldest; f != nil; f = f.newer {
		if f.key.protocol != record.ProtocolTCP || f.pair == nil || f.pair.gone {
			continue
		}
		if f.key.direction != keyIn {
			a.sockets.flows[f.socketKey(false)] = f
		}
		if f.key.direction != keyOut {
			a.sockets.flows[f.socketKey(true)] = f
		}
	}
	return a.sockets.flows[key]
}

func (f *flow) socketKey(received bool) socketKey {
	k, from := socketKey{received: received}, 0
	if received {
		from = 2
	}
	copy(k.address[:], f.key.address[from:])
	copy(k.port[:], f.key.port[from:])
	return k
}

// sends returns the pair, and if there is one the flow, of what a connection's end sends.
func (a *Aggregator) sends(rec *record.Record) (*pair, *flow) {
	if f := a.find(newSocketKey(&rec.First, false), rec.Time); f != nil {
		return f.pair, f
	}
	return a.named(rec.First, rec.Time, journey.Out), nil
}

// receives returns that of what it receives.
func (a *Aggregator) receives(rec *record.Record) (*pair, *flow) {
	back := record.Flow{Source: rec.First.Destination, Destination: rec.First.Source, Protocol: rec.First.Protocol}
	if f := a.find(newSocketKey(&back, true), rec.Time); f != nil {
		return f.pair, f
	}
	return a.named(back, rec.Time, journey.In), nil
}

// named returns the pair of two addresses by their names alone; nil where one is a Service's, of which it is not known
// who is behind it.
func (a *Aggregator) named(flow record.Flow, at time.Duration, direction journey.Direction) *pair {
	src, dst := a.namer.Lookup(flow.Source.Addr(), at), a.namer.Lookup(flow.Destination.Addr(), at)
	if src.Workload == "" && src.Service != "" || dst.Workload == "" && dst.Service != "" {
		return nil
	}
	return a.pair(keyOf(src, dst, direction), at)
}
