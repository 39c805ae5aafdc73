package overview

import (
	"cmp"

	"tracer/internal/aggregate"
)

// flows are the rows by flow; nil if the window has no flows, as they were not counted from its start.
func (b *builder) flows() []Row {
	if b.Window.Flows == nil {
		return nil
	}
	rows := make([]Row, 0, len(b.Window.Flows))
	for i := range b.Window.Flows {
		f := &b.Window.Flows[i]
		r := Row{
			Src: flowParty(&f.Src, f.First.Source.String()), Dst: flowParty(&f.Dst, f.Last.Destination.String()),
			Protocol: f.First.Protocol.String(), Direction: f.Direction,
			PacketsPerSecond: f.Packets / b.seconds, BitsPerSecond: f.Bytes * 8 / b.seconds, Path: newDelay(&f.Path),
			Drops: Drops{Packets: f.Drops, PerSecond: float64(f.Drops) / b.seconds}, TCP: b.flowTCP(&f.TCP),
		}
		if !f.First.Protocol.Ports() {
			r.Src.Address, r.Dst.Address = f.First.Source.Addr().String(), f.Last.Destination.Addr().String()
		}
		if f.First.Destination != f.Last.Destination {
			r.Service = f.First.Destination.String()
		}
		if f.Drops > 0 {
			r.Drops.Reason = f.DropReason
		}
		stages := make([]Stage, 0, len(f.Stages))
		for _, s := range f.Stages {
			stages = append(stages, Stage{
				Place: Place{s.Stage, s.Device}, Packets: s.Count, Mean: s.Seconds / float64(s.Count),
			})
		}
		b.addStages(&r, stages, nil, f.RTO())
		if p := b.pairOf(r.Key()); p != nil && r.Service == "" {
			r.EndpointOf = p.EndpointOf
		}
		rows = append(rows, r)
	}
	return b.withSilentFlows(rows)
}

func flowParty(id *aggregate.Identity, address string) Party {
	return Party{Namespace: id.Namespace, Workload: cmp.Or(id.Workload, aggregate.UnknownWorkload), Pod: id.Pod, Address: address}
}
