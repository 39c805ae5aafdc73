// Package filter is what the filters that people type have in common: how an error in one is shown, and how times in it are read.
// The filters themselves are those of journeys (trace) and of rows (overview).
package filter

import (
	"fmt"
	"strings"
	"time"
)

// SyntaxError says where and why a filter makes no sense.
type SyntaxError struct {
	Text    string // the whole filter
	At      int    // the byte in Text
	Problem string
}

// Error is the problem, and under it the text with a mark at the place.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s\n  %s\n  %s^", e.Problem, e.Text, strings.Repeat(" ", len([]rune(e.Text[:e.At]))))
}

// ParseDuration reads the time at text[from:to]. An error is a *SyntaxError.
func ParseDuration(text string, from, to int) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text[from:to]))
	if err != nil || d < 0 {
		return 0, &SyntaxError{text, from, fmt.Sprintf("%q is no time; give one with its unit, such as 10ms", text[from:to])}
	}
	return d, nil
}
