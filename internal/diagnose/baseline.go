package diagnose

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"tracer/internal/aggregate"
)

const (
	// learnPackets is how many packets a minute needs for its median to say something, and knownAfter after how many minutes
	// the baseline is known.
	learnPackets, knownAfter = 20, 5
	// For the first 15 minutes (firstMinutes) the baseline is the plain median. From then on a minute moves it by drift, the
	// logarithm of a factor: by 6 % an hour at most, so that hours of something unusual that no finding named are not the
	// new normal either.
	firstMinutes = 15
	drift        = 0.001
	// maxBaseline bounds the stages kept, forgetAfter how long one is kept that nothing passes.
	maxBaseline = 1024
	forgetAfter = 7 * 24 * time.Hour
)

// Baseline is the usual delay: the median of the medians of each minute, by stage, device and direction. Each minute moves
// it by a small step up or down, whatever its distance, so that outliers count as little as can be. The zero Baseline knows
// nothing. It is not safe for concurrent use.
type Baseline struct {
	stages   map[aggregate.StageKey]*StageBaseline
	peers    map[PeerKey]*PeerBaseline
	requests map[aggregate.PairKey]*RequestBaseline // by who asks whom, without a direction
}

// StageBaseline is the usual delay of one stage.
type StageBaseline struct {
	aggregate.StageKey
	P50 float64 `json:"p50_seconds"`
	learnt
}

// learnt is what a usual value was learnt from.
type learnt struct {
	Minutes uint64    `json:"minutes"`
	First   []float64 `json:"first,omitempty"` // the values of the first of them, in order of size, as long as they are few
	Last    time.Time `json:"last"`            // of them
}

// Learn takes a minute's stages, but for those where something was found: a fault is never usual, however long it lasts.
func (b *Baseline) Learn(stages []aggregate.StageDelay, found []Finding, now time.Time) {
	if b.stages == nil {
		b.stages = make(map[aggregate.StageKey]*StageBaseline)
	}
	for i := range stages {
		st := &stages[i]
		if st.Delay.Count() < learnPackets ||
			slices.ContainsFunc(found, func(f Finding) bool { return f.Stage == st.Stage && f.Device == st.Device }) {
			continue
		}
		p50 := st.Delay.Quantile(0.5)
		if p50 <= 0 {
			continue
		}
		u := b.stages[st.StageKey]
		if u == nil {
			if len(b.stages) >= maxBaseline {
				continue
			}
			u = &StageBaseline{StageKey: st.StageKey, P50: p50}
			b.stages[st.StageKey] = u
		}
		u.P50 = u.learn(u.P50, p50, now)
	}
	maps.DeleteFunc(b.stages, func(_ aggregate.StageKey, u *StageBaseline) bool { return u.isForgotten(now) })
}

// learn takes one minute's value, and returns what is usual then.
func (l *learnt) learn(usual, value float64, now time.Time) float64 {
	l.Minutes++
	l.Last = now
	if l.Minutes <= firstMinutes {
		at, _ := slices.BinarySearch(l.First, value)
		l.First = slices.Insert(l.First, at, value)
		return l.First[len(l.First)/2]
	}
	l.First = nil
	return usual * math.Exp(min(drift, max(-drift, math.Log(value/usual))))
}

// isForgotten tells whether nothing has been learnt for so long that it says nothing any more.
func (l *learnt) isForgotten(now time.Time) bool { return now.Sub(l.Last) > forgetAfter }

// P50 is the usual p50 in seconds, of the stages where it is known.
func (b *Baseline) P50() map[aggregate.StageKey]float64 {
	known := make(map[aggregate.StageKey]float64, len(b.stages))
	for key, u := range b.stages {
		if u.Minutes >= knownAfter {
			known[key] = u.P50
		}
	}
	return known
}

// Stages is all that was learnt, in order, to be kept for the next start.
func (b *Baseline) Stages() []StageBaseline {
	stages := make([]StageBaseline, 0, len(b.stages))
	for _, u := range b.stages {
		stage := *u
		stage.First = slices.Clone(u.First)
		stages = append(stages, stage)
	}
	slices.SortFunc(stages, func(x, y StageBaseline) int {
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Stage, y.Stage), cmp.Compare(x.Direction, y.Direction))
	})
	return stages
}

// Restore takes what was kept. What makes no sense is left out.
func (b *Baseline) Restore(stages []StageBaseline) {
	b.stages = make(map[aggregate.StageKey]*StageBaseline, len(stages))
	for _, u := range stages {
		if u.P50 > 0 && !math.IsInf(u.P50, 0) && u.Stage != "" && len(b.stages) < maxBaseline {
			b.stages[u.StageKey] = &u
		}
	}
}
