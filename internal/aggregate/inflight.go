package aggregate

import (
	"cmp"
	"slices"
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// maxHeldPairs is how many pairs a Held names.
const maxHeldPairs = 64

// staleAfter is how long a packet can be on its way between two hooks without a queue between them. What is older
// has left where no hook sees it: a socket of the node, a GRO merge, an eBPF redirect.
const staleAfter = time.Second

// SetInFlight replaces the open journeys by those that a scan of the in-flight table has found.
func (a *Aggregator) SetInFlight(open []record.Record) {
	a.mu.Lock()
	devices := a.devices
	a.mu.Unlock()

	type place struct {
		InFlight
		pairs map[PairKey]InFlightPair
	}
	places := make(map[StageKey]*place)
	for i := range open {
		rec := &open[i]
		if rec.Kind != record.InFlight {
			continue
		}
		path, err := journey.PathOf(rec, devices)
		if err != nil || path.At.Stage == journey.Deliver { // delivered: sent before, as a finished one
			continue
		}
		age := path.At.Delay
		if path.At.Stage != journey.Queue && age > staleAfter {
			continue
		}
		key := StageKey{path.At.Stage, path.At.Device.Label, path.Direction}
		p := places[key]
		if p == nil {
			p = &place{InFlight: InFlight{StageKey: key}, pairs: make(map[PairKey]InFlightPair)}
			places[key] = p
		}
		weight := max(1, rec.Weight)
		p.Packets += float64(weight)
		p.Oldest = max(p.Oldest, age.Seconds())
		p.Ages.ObserveDuration(age, uint64(weight))
		at := rec.Start()
		src, dst := a.namer.Lookup(rec.First.Source.Addr(), at), a.namer.Lookup(rec.Last.Destination.Addr(), at)
		pair := keyOf(src, dst, path.Direction)
		h := p.pairs[pair]
		p.pairs[pair] = InFlightPair{pair, h.Packets + float64(weight), max(h.Oldest, age.Seconds())}
	}

	held := make([]InFlight, 0, len(places))
	for _, p := range places {
		for _, pair := range p.pairs {
			p.Pairs = append(p.Pairs, pair)
		}
		slices.SortFunc(p.Pairs, func(x, y InFlightPair) int {
			return cmp.Or(cmp.Compare(y.Packets, x.Packets), comparePairs(x.PairKey, y.PairKey))
		})
		p.Pairs = slices.Clip(p.Pairs[:min(len(p.Pairs), maxHeldPairs)])
		held = append(held, p.InFlight)
	}
	slices.SortFunc(held, func(x, y InFlight) int { return compareStages(x.StageKey, y.StageKey) })

	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = held
}
