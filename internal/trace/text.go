package trace

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tracer/internal/journey"
)

const (
	barWidth = 32 // columns of a waterfall
	// The colours of what is no stage: SGR parameters (ECMA-48).
	styleBold  = "1"
	styleFaint = "2"
	styleLost  = "1;31"
)

// Colour is a stage's, the same wherever it is drawn: one of the terminal's first eight.
func Colour(s journey.Stage) int {
	switch s {
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
	return 7
}

// WriteText draws a journey: who, a line for each stage with its share of the way in place, and how it ended.
func (t *Trace) WriteText(w io.Writer, color bool) error {
	paint := func(style, text string) string {
		if !color {
			return text
		}
		return "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s → %s", t.Time.Local().Format("15:04:05.000000"), paint(styleBold, string(t.Direction)),
		paint(styleBold, qualified(t.Src.Namespace, t.Src.Workload)), paint(styleBold, qualified(t.Dst.Namespace, t.Dst.Workload)))
	if t.Service != "" {
		fmt.Fprintf(&b, " by service %s", t.Service)
	}
	fmt.Fprintf(&b, "  %s\n", Seconds(t.TotalSeconds))
	fmt.Fprintf(&b, "  %s %s → %s, %d bytes", t.First.Protocol, t.First.Source, t.First.Destination, t.Bytes.IP)
	if t.Segments > 1 {
		fmt.Fprintf(&b, " in %d segments", t.Segments)
	}
	if len(t.Hooks) > 0 {
		fmt.Fprintf(&b, ", seen first at %s %s", orDash(t.Hooks[0].Device), t.Hooks[0].Hook)
	}
	b.WriteByte('\n')
	if t.First != t.Last {
		fmt.Fprintf(&b, "  after NAT %s → %s\n", t.Last.Source, t.Last.Destination)
	}
	if t.Skipped > 0 {
		fmt.Fprintf(&b, "  (%d hooks after the sixth are not shown)\n", t.Skipped)
	}
	var passed float64
	line := func(s *Stage) {
		bar := Bar(passed, s.Seconds, t.TotalSeconds, barWidth)
		if painted := strings.TrimLeft(bar, " "); painted != "" {
			bar = strings.TrimSuffix(bar, painted) + paint(fmt.Sprint(30+Colour(s.Stage)), painted)
		}
		fmt.Fprintf(&b, "  %-9s %-15s %10s  %s\n", s.Stage, orDash(s.Device), s.took(), bar)
		passed += s.Seconds
	}
	for i := range t.Stages {
		line(&t.Stages[i])
	}
	if t.At != nil {
		line(t.At)
	}
	if d := t.Drop; d != nil {
		fmt.Fprintf(&b, "  %s\n", paint(styleLost, d.String()))
	}
	if t.Missed > 0 {
		fmt.Fprintf(&b, "  %s\n", paint(styleFaint, fmt.Sprintf("(%d journeys before this one did not reach us in time)", t.Missed)))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// took is the stage's time, or why there is none.
func (s *Stage) took() string {
	switch {
	case s.NoQueue:
		return "no queue"
	case s.Untimed:
		return "not timed"
	}
	return Seconds(s.Seconds)
}

// String says in one line where and why the packet was lost.
func (d *Drop) String() string {
	word := "lost"
	if !d.Loss {
		word = "freed"
	}
	return fmt.Sprintf("%s in %s at %s: %s, by %s", word, d.Stage, orDash(d.Device), d.Reason, orDash(d.Location))
}

// Bar draws the part of a whole that begins at from and is length long, in its place within width columns.
func Bar(from, length, total float64, width int) string {
	if total <= 0 || width <= 0 {
		return ""
	}
	begin := min(int(from/total*float64(width)), width-1)
	end := max(begin+1, min(int((from+length)/total*float64(width)+0.5), width))
	return strings.Repeat(" ", begin) + strings.Repeat("█", end-begin)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Seconds writes a time with about three digits and a fitting unit.
func Seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	precision := time.Nanosecond
	for limit := 1000 * time.Nanosecond; d >= limit; limit *= 10 {
		precision *= 10
	}
	return d.Round(precision).String()
}
