package format

import "tracer/internal/journey"

// StageColor is a stage's colour, the same wherever it is drawn: the number of one of a terminal's first eight.
func StageColor(s journey.Stage) int {
	switch s {
	case journey.PodQueue:
		return 1 // red
	case journey.Forward:
		return 6 // cyan
	case journey.Queue:
		return 3 // yellow
	case journey.Encap:
		return 5 // magenta
	case journey.Decap:
		return 4 // blue
	case journey.Deliver:
		return 2 // green
	}
	return 7 // white
}
