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
