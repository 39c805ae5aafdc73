package diagnose

import (
	"slices"

	"tracer/internal/aggregate"
)

// losses are counts of packets lost that wait for an explanation.
type losses []aggregate.DropCount

// lossesOf are all losses of a window.
func lossesOf(s *aggregate.Snapshot) losses {
	var l losses
	for _, d := range s.Drops {
		if d.Loss && d.Packets > 0 {
			l = append(l, d)
		}
	}
	return l
}

// take removes and returns those that match.
func (l *losses) take(match func(*aggregate.DropCount) bool) []aggregate.DropCount {
	var taken []aggregate.DropCount
	*l = slices.DeleteFunc(*l, func(d aggregate.DropCount) bool {
		if !match(&d) {
			return false
		}
		taken = append(taken, d)
		return true
	})
	return taken
}
