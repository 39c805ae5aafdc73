package format

import "strings"

// Spark draws a trend's last points in proportion to the highest of them; a missing one is a gap.
func Spark(points []*float64, width int) string {
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
