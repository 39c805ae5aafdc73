package aggregate

import (
	"time"

	"tracer/internal/journey"
)

// pair is a Pair that grows.
type pair struct {
	Pair     // but its Stages and Drops are those below
	stages   []*stage
	drops    []*pairDrop
	lastSeen time.Duration // CLOCK_MONOTONIC
	other    bool          // of OtherWorkload: counts for what does not fit
	evicted  bool          // flows may point to it all the same
	changed  bool          // since cached
	cached   Pair          // the last snapshot
}

// snapshot returns a copy that does not change any more.
func (p *pair) snapshot() Pair {
	if !p.changed {
		return p.cached
	}
	p.changed = false
	p.cached = p.Pair
	p.cached.Path = p.Path.Clone()
	p.cached.Stages = make([]StageDelay, len(p.stages))
	for i, s := range p.stages {
		p.cached.Stages[i] = s.snapshot()
	}
	p.cached.Drops = make([]DropCount, len(p.drops))
	for i, d := range p.drops {
		p.cached.Drops[i] = d.DropCount
	}
	p.cached.TCP = p.TCP.snapshot()
	p.cached.Requests = p.Requests.clone()
	p.cached.sort()
	return p.cached
}

// pair returns the pair of that key, or that of OtherWorkload if there is no room for it.
func (a *Aggregator) pair(key PairKey, now time.Duration) *pair {
	if p := a.pairs[key]; p != nil {
		return p
	}
	if !a.hasRoom(now) {
		key = PairKey{SrcWorkload: OtherWorkload, DstWorkload: OtherWorkload, Direction: key.Direction}
		if p := a.pairs[key]; p != nil {
			return p
		}
		a.otherPairs++
		p := &pair{Pair: Pair{PairKey: key}, other: true}
		a.pairs[key] = p
		return p
	}
	p := &pair{Pair: Pair{PairKey: key}}
	a.pairs[key] = p
	return p
}

// hasRoom tells whether one more pair fits, if need be after evicting idle ones. It searches for those at most once a second,
// as it goes through all pairs.
func (a *Aggregator) hasRoom(now time.Duration) bool {
	full := func() bool { return len(a.pairs)-a.otherPairs >= a.maxPairs }
	if !full() {
		return true
	}
	if a.idleScanned != 0 && now < a.idleScanned+time.Second {
		return false
	}
	a.idleScanned = now
	for key, p := range a.pairs {
		if !p.other && p.lastSeen+a.pairIdle < now {
			p.evicted = true
			delete(a.pairs, key)
		}
	}
	return !full()
}

// newPairKey is the key of the pair of two identities.
func newPairKey(src, dst Identity, direction journey.Direction) PairKey {
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
