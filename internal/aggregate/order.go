package aggregate

import (
	"cmp"
	"slices"
)

// sort gives a snapshot an order that does not depend on maps. Flows have one already: the last seen first.
func (s *Snapshot) sort() {
	slices.SortFunc(s.Stages, func(x, y StageDelay) int { return compareStages(x.StageKey, y.StageKey) })
	slices.SortFunc(s.Drops, func(x, y DropCount) int { return compareDrops(x.DropKey, y.DropKey) })
	slices.SortFunc(s.Pairs, func(x, y Pair) int { return x.Compare(y.PairKey) })
}

func (p *Pair) sort() {
	slices.SortFunc(p.Stages, func(x, y StageDelay) int { return compareStages(x.StageKey, y.StageKey) })
	slices.SortFunc(p.Drops, func(x, y DropCount) int { return compareDrops(x.DropKey, y.DropKey) })
}

func compareStages(x, y StageKey) int {
	return cmp.Or(
		cmp.Compare(x.Device, y.Device),
		cmp.Compare(x.Stage, y.Stage),
		cmp.Compare(x.Direction, y.Direction),
	)
}

func compareDrops(x, y DropKey) int {
	return cmp.Or(
		compareStages(x.StageKey, y.StageKey),
		cmp.Compare(x.Reason, y.Reason),
		cmp.Compare(x.Location, y.Location),
	)
}

// Compare is the order of a snapshot's pairs. It compares no more than it takes: there are thousands of pairs.
func (x PairKey) Compare(y PairKey) int {
	if c := cmp.Compare(x.SrcNamespace, y.SrcNamespace); c != 0 {
		return c
	}
	if c := cmp.Compare(x.SrcWorkload, y.SrcWorkload); c != 0 {
		return c
	}
	if c := cmp.Compare(x.DstNamespace, y.DstNamespace); c != 0 {
		return c
	}
	if c := cmp.Compare(x.DstWorkload, y.DstWorkload); c != 0 {
		return c
	}
	return cmp.Compare(x.Direction, y.Direction)
}
