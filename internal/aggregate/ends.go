package aggregate

import (
	"net/netip"

	"tracer/internal/record"
)

// Ends are those of one of a pair's flows. They do not change.
type Ends struct {
	// Source is where packets came from, as the first hook saw it; Destination where they went, as the last one did.
	Source, Destination netip.AddrPort
	Protocol            record.Protocol
	Src, Dst            Identity
	// From and To are the indexes of the devices where its packets were seen first and last; 0 if they were seen at none.
	From, To int
}

// endsOf are a record's, by its flow's names.
func endsOf(f *flow, rec *record.Record) *Ends {
	e := &Ends{
		Source: rec.First.Source, Destination: rec.Last.Destination, Protocol: rec.First.Protocol, Src: f.src.Value(), Dst: f.dst.Value(),
	}
	if rec.Len > 0 {
		e.From, e.To = rec.Hops[0].Ifindex, rec.Hops[rec.Len-1].Ifindex
	}
	return e
}

// of tells whether they are a record's, by its flow's names: not by the client's port, of which each connection has its own.
func (e *Ends) of(f *flow, rec *record.Record) bool {
	return e != nil && e.Source.Addr() == rec.First.Source.Addr() && e.Destination == rec.Last.Destination && e.Src == f.src.Value() && e.Dst == f.dst.Value()
}
