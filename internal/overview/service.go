package overview

import (
	"slices"

	"tracer/internal/aggregate"
)

// services are the rows by Service and direction. Those of pairs that were sent to endpoints of a Service are rows of their own.
// Pairs that use no Service are grouped by who receives.
func (b *builder) services() []Row {
	type key struct {
		service, endpointOf, namespace, workload string
		direction                                string
	}
	inFlight := b.inFlightByPair()
	sums := map[key]*aggregate.Pair{}
	inFlightOf := map[key]map[Place]aggregate.InFlightPair{}
	members := map[key]int{}
	var keys []key // in the order of the pairs, so that rows come in one
	for i := range b.Window.Pairs {
		p := &b.Window.Pairs[i]
		k := key{service: p.Service, direction: string(p.Direction)}
		if p.Service == "" && p.EndpointOf != "" {
			k.endpointOf = p.EndpointOf
		} else if p.Service == "" {
			k.namespace, k.workload = p.DstNamespace, p.DstWorkload
		}
		sum := sums[k]
		if sum == nil {
			sum = &aggregate.Pair{Service: p.Service, EndpointOf: k.endpointOf, PairKey: aggregate.PairKey{Direction: p.Direction, DstNamespace: k.namespace, DstWorkload: k.workload}}
			sums[k], inFlightOf[k] = sum, map[Place]aggregate.InFlightPair{}
			keys = append(keys, k)
		}
		add(sum, p)
		members[k]++
		for place, h := range inFlight[p.PairKey] {
			w := inFlightOf[k][place]
			w.Packets, w.Oldest = w.Packets+h.Packets, max(w.Oldest, h.Oldest)
			inFlightOf[k][place] = w
		}
	}
	rows := make([]Row, 0, len(keys))
	for _, k := range keys {
		r := b.pair(sums[k], inFlightOf[k])
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
	if p.Requests != nil {
		if sum.Requests == nil {
			sum.Requests = &aggregate.Requests{}
		}
		sum.Requests.Merge(p.Requests)
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
