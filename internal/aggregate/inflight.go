package aggregate

import (
	"cmp"
	"slices"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// maxInFlightPairs is how many pairs an InFlight names.
const maxInFlightPairs = 64

// SetInFlight replaces the packets in flight by those that a scan of the in-flight table found.
func (a *Aggregator) SetInFlight(scanned []record.Record) {
	a.mu.Lock()
	devices := a.devices
	a.mu.Unlock()

	type group struct {
		InFlight
		pairs map[PairKey]InFlightPair
	}
	groups := make(map[StageKey]*group)
	var came []*record.Record // from outside
	for i := range scanned {
		rec := &scanned[i]
		if rec.Kind != record.InFlight {
			continue
		}
		path, err := journey.PathOf(rec, devices)
		if err != nil || path.Where.Stage == journey.Deliver { // delivered: counted by a record of its own
			continue
		}
		if path.Direction == journey.In && rec.Hops[0].Hook == record.Ingress {
			came = append(came, rec)
		}
		age := path.Where.Delay
		key := StageKey{path.Where.Stage, path.Where.Device.Label, path.Direction}
		g := groups[key]
		if g == nil {
			g = &group{InFlight: InFlight{StageKey: key}, pairs: make(map[PairKey]InFlightPair)}
			groups[key] = g
		}
		weight := max(1, rec.Weight)
		g.Packets += float64(weight)
		g.Oldest = max(g.Oldest, age.Seconds())
		g.Ages.ObserveDuration(age, uint64(weight))
		at := rec.Start()
		src, dst := a.namer.Lookup(rec.First.Source.Addr(), at), a.namer.Lookup(rec.Last.Destination.Addr(), at)
		pair := newPairKey(src, dst, path.Direction)
		sum := g.pairs[pair]
		g.pairs[pair] = InFlightPair{pair, sum.Packets + float64(weight), max(sum.Oldest, age.Seconds())}
	}

	inFlight := make([]InFlight, 0, len(groups))
	for _, g := range groups {
		for _, pair := range g.pairs {
			g.Pairs = append(g.Pairs, pair)
		}
		slices.SortFunc(g.Pairs, func(x, y InFlightPair) int {
			return cmp.Or(cmp.Compare(y.Packets, x.Packets), x.Compare(y.PairKey))
		})
		g.Pairs = slices.Clip(g.Pairs[:min(len(g.Pairs), maxInFlightPairs)])
		inFlight = append(inFlight, g.InFlight)
	}
	slices.SortFunc(inFlight, func(x, y InFlight) int { return compareStages(x.StageKey, y.StageKey) })

	a.mu.Lock()
	defer a.mu.Unlock()
	a.inFlight = inFlight
	for _, rec := range came {
		a.hearInFlight(rec)
	}
}
