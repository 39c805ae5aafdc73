// Package format is how values look in tables and views: times, bars that divide a whole, and the colour of each stage. Times are
// in seconds. The sentences of the diagnosis have their own form: internal/diagnose/format.go.
package format

import "time"

// Seconds writes a time with about three digits and a fitting unit, such as 501ms or 12.3µs.
func Seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	precision := time.Nanosecond
	for limit := 1000 * time.Nanosecond; d >= limit; limit *= 10 {
		precision *= 10
	}
	return d.Round(precision).String()
}
