package aggregate

import "time"

// meanwhile keeps what was acknowledged lately, until it is known whether what is retransmitted again and again was sent, and lost,
// after that: else the way may have lost everything, and passes everything now.
type meanwhile struct {
	last [againWindow/meanwhileStep + 1]acknowledged // by time, in a circle
}

const meanwhileStep = 250 * time.Millisecond

// acknowledged is what was acknowledged in one step.
type acknowledged struct {
	step            time.Duration // since the start of the clock, in steps; 0: none
	segments, bytes uint64
}

func (m *meanwhile) add(at time.Duration, segments, bytes uint64) {
	step := at / meanwhileStep
	a := &m.last[step%time.Duration(len(m.last))]
	if a.step != step {
		*a = acknowledged{step: step}
	}
	a.segments += segments
	a.bytes += bytes
}

// takeBefore takes out what was acknowledged before.
func (m *meanwhile) takeBefore(at time.Duration) (segments, bytes uint64) {
	for i := range m.last {
		if a := &m.last[i]; (a.step+1)*meanwhileStep <= at {
			segments += a.segments
			bytes += a.bytes
			*a = acknowledged{}
		}
	}
	return segments, bytes
}
