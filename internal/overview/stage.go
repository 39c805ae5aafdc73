package overview

import (
	"cmp"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// Place is a stage at a device.
type Place struct {
	Stage  journey.Stage `json:"stage"`
	Device string        `json:"device"`
}

// String is the stage and its device, "" for no place.
func (p *Place) String() string {
	if p == nil {
		return ""
	}
	if p.Device == "" {
		return string(p.Stage)
	}
	return string(p.Stage) + " " + p.Device
}

// Stage is how a row's packets passed a stage.
type Stage struct {
	Place
	Packets   uint64   `json:"packets"` // sk_buffs that were timed
	Delay     *Delay   `json:"delay"`   // null if none was, and for flows, of which only the mean is kept
	Mean      float64  `json:"mean_seconds"`
	Share     float64  `json:"share"`              // of the path's time
	WarnAbove *float64 `json:"warn_above_seconds"` // the threshold of its p50; null if there is no queue
	// Baseline is the p50 that was learnt as usual here; null if none was, or not yet.
	Baseline *float64 `json:"baseline_p50_seconds"`
	Slow     bool     `json:"slow"` // beyond WarnAbove
	InFlight float64  `json:"held"`
	Oldest   float64  `json:"oldest_seconds"`
}

// usual is the p50 of its delay, or the mean where that alone is kept.
func (s *Stage) usual() float64 {
	if s.Delay == nil {
		return s.Mean
	}
	return s.Delay.P50
}

// addStages gives a row its stages, and what follows from them: shares, which is slow, which is worst, and the pain. inFlight
// are its packets in flight by place; rto is the time after which a dropped packet of it is sent again.
func (b *builder) addStages(r *Row, stages []Stage, inFlight map[Place]aggregate.InFlightPair, rto float64) {
	for place := range inFlight {
		if !slices.ContainsFunc(stages, func(s Stage) bool { return s.Place == place }) {
			stages = append(stages, Stage{Place: place})
		}
	}
	b.order(stages)
	var all, most, extra float64
	spent := make([]float64, len(stages))
	for i := range stages {
		s := &stages[i]
		w := inFlight[s.Place]
		s.InFlight, s.Oldest = w.Packets, w.Oldest
		passed, inside := s.Mean*float64(s.Packets), w.Waited()
		spent[i] = passed + inside
		all += spent[i]
		s.WarnAbove = b.warnAboveOf(s.Place)
		s.Baseline = b.baselineOf(s.Place, r.Direction)
		baseline := 0.0
		if s.Baseline != nil {
			baseline = *s.Baseline
		}
		extra += inside + aggregate.Excess(passed, s.Packets, baseline)
		s.Slow = s.WarnAbove != nil && (s.usual() > *s.WarnAbove || s.Oldest > oldestAbove(*s.WarnAbove))
		if spent[i] > most {
			most = spent[i]
			r.Worst = &s.Place
		}
		if w.Oldest > r.OldestSeconds {
			r.InFlight, r.OldestSeconds = w.Packets, w.Oldest
		}
	}
	for i := range stages {
		if all > 0 {
			stages[i].Share = spent[i] / all
		}
	}
	if stages == nil {
		stages = []Stage{}
	}
	r.Stages = stages
	r.Pain = (extra + float64(r.Drops.Packets)*rto) / b.seconds
}

// order sorts stages as packets pass them. Of two uplinks (a VLAN and the device under it) the one whose packets are
// wrapped comes first.
func (b *builder) order(stages []Stage) {
	slices.SortStableFunc(stages, func(x, y Stage) int { return cmp.Compare(b.rank(x.Place), b.rank(y.Place)) })
}

// rank is a stage's position on the path through a node.
func (b *builder) rank(p Place) int {
	role := b.roles[p.Device]
	switch p.Stage {
	case journey.PodQueue:
		return -1
	case journey.Decap:
		return 0
	case journey.Forward:
		return 1
	case journey.Queue:
		switch role {
		case netdev.RoleOverlay:
			return 2
		case netdev.RoleUplink:
			return 4
		}
		return 5
	case journey.Encap:
		return 3
	}
	return 6
}

// oldestAbove is the age of the oldest packet in flight above which a queue with that threshold is slow, too.
func oldestAbove(warnAbove float64) float64 { return max(10*warnAbove, 0.1) }

// warnAboveOf is the threshold of a queue's p50, nil where there is no queue.
func (b *builder) warnAboveOf(p Place) *float64 {
	if !p.Stage.Queues() {
		return nil
	}
	above, ok := b.warnAbove[p.Device]
	if !ok {
		if threshold, queues := diagnose.ThresholdOf(b.Devices, p.Device); queues {
			above = &threshold.WarnDelay
		}
		b.warnAbove[p.Device] = above
	}
	return above
}

// baselineOf is the learnt p50 of a place, in the first of the directions for which there is one.
func (b *builder) baselineOf(p Place, directions ...journey.Direction) *float64 {
	for _, direction := range directions {
		if p50, ok := b.Baseline[aggregate.StageKey{Stage: p.Stage, Device: p.Device, Direction: direction}]; ok {
			return &p50
		}
	}
	return nil
}
