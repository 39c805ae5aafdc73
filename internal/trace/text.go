package trace

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"tracer/internal/format"
)

const (
	barWidth = 32 // columns of a waterfall
	// Styles by their SGR parameters (ECMA-48), beside the stages' colours.
	styleBold  = "1"
	styleFaint = "2"
	styleDrop  = "1;31"
)

// WriteText draws a journey: its ends, a line for each stage with its part of the time at its place, and how it ended.
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
	} else if t.EndpointOf != "" {
		fmt.Fprintf(&b, ", an endpoint of service %s,", t.EndpointOf)
	}
	fmt.Fprintf(&b, "  %s\n", format.Seconds(t.TotalSeconds))
	if t.Request != nil {
		t.requestText(&b, paint)
		_, err := io.WriteString(w, b.String())
		return err
	}
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
		fmt.Fprintf(&b, "  (%s after the sixth not shown)\n", format.Counted(strconv.Itoa(t.Skipped), "hook"))
	}
	var passed float64
	line := func(s *Stage) {
		bar := format.Bar(passed, s.Seconds, t.TotalSeconds, barWidth)
		if painted := strings.TrimLeft(bar, " "); painted != "" {
			bar = strings.TrimSuffix(bar, painted) + paint(fmt.Sprint(30+format.StageColor(s.Stage)), painted)
		}
		fmt.Fprintf(&b, "  %-9s %-15s %10s  %s\n", s.Stage, orDash(s.Device), s.TimeText(), bar)
		passed += s.Seconds
	}
	for i := range t.Stages {
		line(&t.Stages[i])
	}
	if t.At != nil {
		line(t.At)
	}
	if d := t.Drop; d != nil {
		fmt.Fprintf(&b, "  %s\n", paint(styleDrop, d.String()))
	}
	t.missedText(&b, paint)
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// requestText says what became of a request.
func (t *Trace) requestText(b *strings.Builder, paint func(style, text string) string) {
	said := t.Request.said(orDash(t.Hooks[0].Device))
	if !t.Request.answered() {
		said = paint(styleDrop, said)
	}
	fmt.Fprintf(b, "  %s %s → %s, %s\n", t.First.Protocol, t.First.Source, t.First.Destination, said)
	t.missedText(b, paint)
	b.WriteByte('\n')
}

// missedText says how many before it were missed, if any were.
func (t *Trace) missedText(b *strings.Builder, paint func(style, text string) string) {
	if t.Missed == 0 {
		return
	}
	what := "journey"
	if t.Request != nil {
		what = "request"
	}
	fmt.Fprintf(b, "  %s\n", paint(styleFaint, fmt.Sprintf("(%s before this one were missed: output is too slow)", format.Counted(fmt.Sprint(t.Missed), what))))
}

// TimeText is the stage's time, or why there is none.
func (s *Stage) TimeText() string {
	switch {
	case s.NoQueue:
		return "no queue"
	case s.Untimed:
		return "not timed"
	}
	return format.Seconds(s.Seconds)
}

// String says in one line where and why the packet was dropped, and what that means; of one that is no loss, where it was freed.
func (d *Drop) String() string {
	word := "dropped"
	if !d.Loss {
		word = "freed"
	}
	text := fmt.Sprintf("%s in %s at %s: %s, by %s", word, d.Stage, orDash(d.Device), d.Reason, orDash(d.Location))
	if d.Cause != "" {
		text += " = " + d.Cause
	}
	if d.Meaning != "" {
		text += ": " + d.Meaning
	}
	return text
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
