package overview

import (
	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
)

// InFlight are packets that entered a stage and have not left it.
type InFlight struct {
	Place
	Direction journey.Direction `json:"direction"`
	Packets   float64           `json:"packets"`
	Oldest    float64           `json:"oldest_seconds"`
}

// clampedInFlight are the window's packets in flight, in queues clamped to their backlogs: those that left by a way
// without a hook look as if they were in flight for ever.
func (b *builder) clampedInFlight() (all []aggregate.InFlight) {
	for _, f := range b.Window.InFlight {
		if f.Stage.Queues() {
			passed := uint64(0)
			for i := range b.Window.Stages {
				if s := &b.Window.Stages[i]; s.StageKey == f.StageKey {
					passed = s.Passed()
				}
			}
			f = diagnose.ClampToBacklog(f, b.Devices, passed)
		}
		if f.Packets > 0 {
			all = append(all, f)
		}
	}
	return all
}

// inFlightOf lists packets in flight of a pair, or of all pairs together if it is nil.
func (b *builder) inFlightOf(pair *aggregate.PairKey) []InFlight {
	out := []InFlight{}
	for i := range b.inFlight {
		h := &b.inFlight[i]
		if pair == nil {
			out = append(out, InFlight{Place{h.Stage, h.Device}, h.Direction, h.Packets, h.Oldest})
			continue
		}
		for _, p := range h.Pairs {
			if p.PairKey == *pair {
				out = append(out, InFlight{Place{h.Stage, h.Device}, h.Direction, min(p.Packets, h.Packets), min(p.Oldest, h.Oldest)})
			}
		}
	}
	return out
}

// inFlightByPair are the packets in flight of each pair, by place. Left out are those that were seen last where nothing waits: they have gone on
// unseen, and their age is no pair's time.
func (b *builder) inFlightByPair() map[aggregate.PairKey]map[Place]aggregate.InFlightPair {
	inFlight := map[aggregate.PairKey]map[Place]aggregate.InFlightPair{}
	for i := range b.inFlight {
		h := &b.inFlight[i]
		if h.Stage == journey.Unknown {
			continue
		}
		for _, p := range h.Pairs {
			p.Packets, p.Oldest = min(p.Packets, h.Packets), min(p.Oldest, h.Oldest)
			if inFlight[p.PairKey] == nil {
				inFlight[p.PairKey] = map[Place]aggregate.InFlightPair{}
			}
			inFlight[p.PairKey][Place{h.Stage, h.Device}] = p
		}
	}
	return inFlight
}
