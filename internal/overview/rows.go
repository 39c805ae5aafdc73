package overview

import (
	"cmp"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// waiting is what is held of each pair, by place.
func (b *builder) waiting() map[aggregate.PairKey]map[Place]aggregate.InFlightPair {
	waiting := map[aggregate.PairKey]map[Place]aggregate.InFlightPair{}
	for i := range b.held {
		h := &b.held[i]
		for _, p := range h.Pairs {
			p.Packets, p.Oldest = min(p.Packets, h.Packets), min(p.Oldest, h.Oldest)
			if waiting[p.PairKey] == nil {
				waiting[p.PairKey] = map[Place]aggregate.InFlightPair{}
			}
			waiting[p.PairKey][Place{h.Stage, h.Device}] = p
		}
	}
	return waiting
}

// pairs are the rows by pair: those of which packets passed, were lost, or are held.
func (b *builder) pairs() []Row {
	waiting := b.waiting()
	rows := make([]Row, 0, len(b.Window.Pairs)+len(waiting))
	for i := range b.Window.Pairs {
		p := &b.Window.Pairs[i]
		rows = append(rows, b.pair(p, waiting[p.PairKey]))
		delete(waiting, p.PairKey)
	}
	for key, places := range waiting {
		rows = append(rows, b.pair(&aggregate.Pair{PairKey: key}, places))
	}
	return rows
}

func (b *builder) pair(p *aggregate.Pair, waiting map[Place]aggregate.InFlightPair) Row {
	r := Row{
		Src:     End{Namespace: p.SrcNamespace, Workload: p.SrcWorkload},
		Dst:     End{Namespace: p.DstNamespace, Workload: p.DstWorkload},
		Service: p.Service, Direction: p.Direction,
		PacketsPerSecond: p.Packets / b.seconds, BitsPerSecond: p.Bytes * 8 / b.seconds,
		Path: delayOf(&p.Path), Drops: b.drops(p.Drops), TCP: b.tcp(p.TCP),
	}
	stages := make([]Stage, 0, len(p.Stages))
	for i := range p.Stages {
		d := &p.Stages[i]
		stages = append(stages, Stage{
			Place: Place{d.Stage, d.Device}, Packets: d.Delay.Count(), Delay: delayOf(&d.Delay), Mean: d.Delay.Mean(),
		})
	}
	b.finish(&r, stages, waiting, p.RTO(b.pairOf(p.Reverse())))
	return r
}

// drops adds up losses; the reason is that of the most.
func (b *builder) drops(drops []aggregate.DropCount) (sum Drops) {
	by := map[string]uint64{}
	for _, d := range drops {
		if d.Loss {
			sum.Packets += d.Packets
			by[d.Reason] += d.Packets
		}
	}
	for reason, n := range by {
		if n > by[sum.Reason] || n == by[sum.Reason] && reason < sum.Reason {
			sum.Reason = reason
		}
	}
	sum.PerSecond = float64(sum.Packets) / b.seconds
	return sum
}

// services are the rows by Service and direction. Pairs that talk without one are together by who receives.
func (b *builder) services() []Row {
	type key struct {
		service, namespace, workload string
		direction                    string
	}
	waiting := b.waiting()
	sums := map[key]*aggregate.Pair{}
	held := map[key]map[Place]aggregate.InFlightPair{}
	members := map[key]int{}
	var keys []key // in the order of the pairs, so that rows come in one
	for i := range b.Window.Pairs {
		p := &b.Window.Pairs[i]
		k := key{service: p.Service, direction: string(p.Direction)}
		if p.Service == "" {
			k.namespace, k.workload = p.DstNamespace, p.DstWorkload
		}
		sum := sums[k]
		if sum == nil {
			sum = &aggregate.Pair{Service: p.Service, PairKey: aggregate.PairKey{Direction: p.Direction, DstNamespace: k.namespace, DstWorkload: k.workload}}
			sums[k], held[k] = sum, map[Place]aggregate.InFlightPair{}
			keys = append(keys, k)
		}
		add(sum, p)
		members[k]++
		for place, h := range waiting[p.PairKey] {
			w := held[k][place]
			w.Packets, w.Oldest = w.Packets+h.Packets, max(w.Oldest, h.Oldest)
			held[k][place] = w
		}
	}
	rows := make([]Row, 0, len(keys))
	for _, k := range keys {
		r := b.pair(sums[k], held[k])
		r.Pairs = members[k]
		rows = append(rows, r)
	}
	return rows
}

// add adds a pair to a sum of pairs.
func add(sum, p *aggregate.Pair) {
	sum.Packets += p.Packets
	sum.Bytes += p.Bytes
	sum.Path.Merge(&p.Path)
	sum.Drops = append(sum.Drops, p.Drops...)
	if p.TCP != nil {
		if sum.TCP == nil {
			sum.TCP = &aggregate.TCP{}
		}
		sum.TCP.Merge(p.TCP)
	}
	for i := range p.Stages {
		d := &p.Stages[i]
		at := slices.IndexFunc(sum.Stages, func(s aggregate.StageDelay) bool { return s.StageKey == d.StageKey })
		if at < 0 {
			at = len(sum.Stages)
			sum.Stages = append(sum.Stages, aggregate.StageDelay{StageKey: d.StageKey})
		}
		sum.Stages[at].Delay.Merge(&d.Delay)
		sum.Stages[at].Untimed += d.Untimed
	}
}

// flows are the rows by flow; nil if the window has none to show, for then they were not asked for in time.
func (b *builder) flows() []Row {
	if b.Window.Flows == nil {
		return nil
	}
	rows := make([]Row, 0, len(b.Window.Flows))
	for i := range b.Window.Flows {
		f := &b.Window.Flows[i]
		r := Row{
			Src: flowEnd(&f.Src, f.First.Source.String()), Dst: flowEnd(&f.Dst, f.Last.Destination.String()),
			Protocol: f.First.Protocol.String(), Direction: f.Direction,
			PacketsPerSecond: f.Packets / b.seconds, BitsPerSecond: f.Bytes * 8 / b.seconds, Path: delayOf(&f.Path),
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
		b.finish(&r, stages, nil, f.RTO())
		rows = append(rows, r)
	}
	return rows
}

func flowEnd(id *aggregate.Identity, address string) End {
	return End{Namespace: id.Namespace, Workload: cmp.Or(id.Workload, aggregate.UnknownWorkload), Pod: id.Pod, Address: address}
}

// devices are all of them: overlays and uplinks first, pods' last.
func (b *builder) devices() []Device {
	order := []netdev.Role{netdev.RoleOverlay, netdev.RoleUplink, netdev.RoleBridge, netdev.RoleIFB, netdev.RoleOther, netdev.RolePod}
	out := make([]Device, 0, len(b.Devices))
	for i := range b.Devices {
		out = append(out, b.device(&b.Devices[i]))
	}
	slices.SortStableFunc(out, func(x, y Device) int {
		return cmp.Or(cmp.Compare(slices.Index(order, x.Role), slices.Index(order, y.Role)), cmp.Compare(x.Name, y.Name))
	})
	return out
}
