package aggregate

import (
	"strings"
	"time"

	"tracer/internal/journey"
)

// other is the workload of pairs, and the reason of drops, for which there is no room.
const other = "_other"

// pair is a Pair that grows.
type pair struct {
	Pair   // without Stages and Drops
	stages []*stage
	drops  []*pairDrop
	seen   time.Duration // CLOCK_MONOTONIC
	other  bool          // takes what does not fit
	gone   bool          // made room for another one
	dirty  bool          // changed since shot
	shot   Pair
}

// frozen returns a copy that does not change any more.
func (p *pair) frozen() Pair {
	if !p.dirty {
		return p.shot
	}
	p.dirty = false
	p.shot = p.Pair
	p.shot.Path = p.Path.Clone()
	p.shot.Stages = make([]StageDelay, len(p.stages))
	for i, s := range p.stages {
		p.shot.Stages[i] = s.frozen()
	}
	p.shot.Drops = make([]DropCount, len(p.drops))
	for i, d := range p.drops {
		p.shot.Drops[i] = d.DropCount
	}
	p.shot.TCP = p.TCP.frozen()
	p.shot.sort()
	return p.shot
}

// pairStage returns a pair's stage. A pair has a handful of them.
func (a *Aggregator) pairStage(p *pair, key StageKey) *stage {
	for _, s := range p.stages {
		if s.StageKey == key {
			return s
		}
	}
	s := &stage{StageDelay: StageDelay{StageKey: key}, all: a.deviceStage(key)}
	p.stages = append(p.stages, s)
	return s
}

// pair returns the pair of that key, or "_other" if there is no room for it.
func (a *Aggregator) pair(key PairKey, now time.Duration) *pair {
	if p := a.pairs[key]; p != nil {
		return p
	}
	if !a.room(now) {
		key = PairKey{SrcWorkload: other, DstWorkload: other, Direction: key.Direction}
		if p := a.pairs[key]; p != nil {
			return p
		}
		a.others++
		p := &pair{Pair: Pair{PairKey: key}, other: true}
		a.pairs[key] = p
		return p
	}
	p := &pair{Pair: Pair{PairKey: key}}
	a.pairs[key] = p
	return p
}

// room tells whether one more pair fits, having removed those that have been silent for long if need be. It looks for
// them at most once a second, as each time it goes through all.
func (a *Aggregator) room(now time.Duration) bool {
	full := func() bool { return len(a.pairs)-a.others >= a.maxPairs }
	if !full() {
		return true
	}
	if a.swept != 0 && now < a.swept+time.Second {
		return false
	}
	a.swept = now
	for key, p := range a.pairs {
		if !p.other && p.seen+a.pairIdle < now {
			p.gone = true // flows may still point to it
			delete(a.pairs, key)
		}
	}
	return !full()
}

// keyOf names the pair of two identities.
func keyOf(src, dst Identity, direction journey.Direction) PairKey {
	return PairKey{
		SrcNamespace: src.Namespace,
		SrcWorkload:  workload(src),
		DstNamespace: dst.Namespace,
		DstWorkload:  workload(dst),
		Direction:    direction,
	}
}

// SamePair tells whether packets between two identities are of a pair, direction aside.
func SamePair(key PairKey, src, dst Identity) bool {
	return key.SrcWorkload == workload(src) && key.DstWorkload == workload(dst) &&
		key.SrcNamespace == src.Namespace && key.DstNamespace == dst.Namespace
}

func workload(id Identity) string {
	if id.Workload == "" {
		return UnknownWorkload
	}
	return id.Workload
}

// serviceOf names the Service of a virtual address as namespace/name, "" if it is none.
func serviceOf(id Identity) string {
	if id.Service == "" || id.Namespace == "" || strings.Contains(id.Service, "/") {
		return id.Service
	}
	return id.Namespace + "/" + id.Service
}
