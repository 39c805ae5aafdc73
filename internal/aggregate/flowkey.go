package aggregate

import (
	"net/netip"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// flowKey is a flow's two tuples and its direction without padding or pointers, so that hashing it is one pass over memory.
type flowKey struct {
	address   [4][16]byte
	port      [4]uint16
	protocol  record.Protocol
	direction uint8
}

func newFlowKey(rec *record.Record, direction journey.Direction) flowKey {
	k := flowKey{
		address: [4][16]byte{
			rec.First.Source.Addr().As16(), rec.First.Destination.Addr().As16(),
			rec.Last.Source.Addr().As16(), rec.Last.Destination.Addr().As16(),
		},
		port: [4]uint16{
			rec.First.Source.Port(), rec.First.Destination.Port(),
			rec.Last.Source.Port(), rec.Last.Destination.Port(),
		},
		protocol: rec.First.Protocol,
	}
	switch direction {
	case journey.Out:
		k.direction = keyOut
	case journey.In:
		k.direction = keyIn
	case journey.Local:
		k.direction = keyLocal
	}
	return k
}

// The numbers of directions in a flowKey.
const (
	keyOut = iota + 1
	keyIn
	keyLocal
)

// first and last are the tuples that the key was made of.
func (k *flowKey) first() record.Flow { return k.tuple(0) }
func (k *flowKey) last() record.Flow  { return k.tuple(2) }

func (k *flowKey) tuple(from int) record.Flow {
	end := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(k.address[i]).Unmap(), k.port[i])
	}
	return record.Flow{Source: end(from), Destination: end(from + 1), Protocol: k.protocol}
}

func (k *flowKey) journeyDirection() journey.Direction {
	return [...]journey.Direction{keyOut: journey.Out, keyIn: journey.In, keyLocal: journey.Local}[k.direction]
}
