package top

import (
	"strings"

	"tracer/internal/overview"
)

// bar divides columns among a row's stages by their share of the time. Each boundary is rounded once, so that the
// parts always fill the bar.
func (s *styles) bar(stages []overview.Stage, width int) string {
	var b strings.Builder
	var sum float64
	at := 0
	for i := range stages {
		sum += stages[i].Share
		end := min(width, int(sum*float64(width)+0.5))
		if end > at {
			b.WriteString(s.stage(stages[i].Stage, strings.Repeat(s.block(stages[i].Stage), end-at)))
			at = end
		}
	}
	return b.String()
}

// spark draws a trend's last points in proportion to the highest of them; a missing one is a gap.
func spark(points []*float64, width int) string {
	points = points[max(0, len(points)-width):]
	var top float64
	for _, p := range points {
		if p != nil {
			top = max(top, *p)
		}
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, p := range points {
		switch {
		case p == nil:
			b.WriteByte(' ')
		case top == 0:
			b.WriteRune(levels[0])
		default:
			b.WriteRune(levels[min(len(levels)-1, int(*p/top*float64(len(levels))))])
		}
	}
	return b.String()
}
