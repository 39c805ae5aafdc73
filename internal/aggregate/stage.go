package aggregate

import (
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// stage is a StageDelay that grows, of one pair or of all.
type stage struct {
	StageDelay
	all *stage // a pair's: the same stage of all pairs
}

// observe counts a packet's delay for the pair and for all pairs.
func (s *stage) observe(step *journey.Step, weight uint64) {
	if step.Untimed {
		s.Untimed += weight
		s.all.Untimed += weight
		return
	}
	delay := hist.ValueOf(step.Delay)
	s.Delay.Add(delay, weight)
	s.all.Delay.Add(delay, weight)
}

// snapshot returns a copy that does not change any more.
func (s *stage) snapshot() StageDelay {
	d := s.StageDelay
	d.Delay = s.Delay.Clone()
	return d
}

// deviceStage returns the stage of all pairs together.
func (a *Aggregator) deviceStage(key StageKey) *stage {
	s := a.stages[key]
	if s == nil {
		s = &stage{StageDelay: StageDelay{StageKey: key}}
		a.stages[key] = s
	}
	return s
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
