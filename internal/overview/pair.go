package overview

import "tracer/internal/aggregate"

// pairs are the rows by pair: those whose packets passed, were dropped, or are in flight.
func (b *builder) pairs() []Row {
	inFlight := b.inFlightByPair()
	rows := make([]Row, 0, len(b.Window.Pairs)+len(inFlight))
	for i := range b.Window.Pairs {
		p := &b.Window.Pairs[i]
		rows = append(rows, b.pair(p, inFlight[p.PairKey]))
		delete(inFlight, p.PairKey)
	}
	for key, places := range inFlight {
		rows = append(rows, b.pair(&aggregate.Pair{PairKey: key}, places))
	}
	return rows
}

// pair is one pair's row.
func (b *builder) pair(p *aggregate.Pair, inFlight map[Place]aggregate.InFlightPair) Row {
	r := Row{
		Src:     Party{Namespace: p.SrcNamespace, Workload: p.SrcWorkload},
		Dst:     Party{Namespace: p.DstNamespace, Workload: p.DstWorkload},
		Service: p.Service, Direction: p.Direction,
		PacketsPerSecond: p.Packets / b.seconds, BitsPerSecond: p.Bytes * 8 / b.seconds,
		Path: newDelay(&p.Path), Drops: b.drops(p.Drops), TCP: b.tcp(p.TCP), Requests: b.requests(p),
	}
	if r.Service == "" {
		r.EndpointOf = p.EndpointOf
	}
	stages := make([]Stage, 0, len(p.Stages))
	for i := range p.Stages {
		d := &p.Stages[i]
		stages = append(stages, Stage{
			Place: Place{d.Stage, d.Device}, Packets: d.Delay.Count(), Delay: newDelay(&d.Delay), Mean: d.Delay.Mean(),
		})
	}
	silent := b.silentOf(p.PairKey)
	var rto float64 // of what is lost: most pairs lose nothing
	if r.Drops.Packets > 0 || len(silent) > 0 {
		rto = p.RTO(b.pairOf(p.Reverse()))
	}
	b.addStages(&r, stages, inFlight, rto)
	var pain float64
	r.NoAnswer, pain = b.noAnswer(silent, rto)
	r.Pain += pain / b.seconds
	return r
}

// pairOf is the window's pair of that key, nil if there is none.
func (b *builder) pairOf(key aggregate.PairKey) *aggregate.Pair {
	if b.pairsByKey == nil {
		b.pairsByKey = make(map[aggregate.PairKey]*aggregate.Pair, len(b.Window.Pairs))
		for i := range b.Window.Pairs {
			b.pairsByKey[b.Window.Pairs[i].PairKey] = &b.Window.Pairs[i]
		}
	}
	return b.pairsByKey[key]
}
