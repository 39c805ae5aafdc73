package format

import "strings"

// Bar draws the part of a whole that begins at from and is length long, at its place within width columns. It has at least one
// column.
func Bar(from, length, total float64, width int) string {
	if total <= 0 || width <= 0 {
		return ""
	}
	begin := min(int(from/total*float64(width)), width-1)
	end := max(begin+1, min(int((from+length)/total*float64(width)+0.5), width))
	return strings.Repeat(" ", begin) + strings.Repeat("█", end-begin)
}
