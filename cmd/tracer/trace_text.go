package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tracer/internal/export"
)

const traceBar = 32 // columns of a waterfall

// writeTrace draws a journey: who, a line for each stage with its share of the way in place, and how it ended.
func writeTrace(w io.Writer, t *export.Trace, color bool) error {
	paint := func(style, text string) string {
		if !color {
			return text
		}
		return "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s → %s", t.Time.Local().Format("15:04:05.000000"), paint("1", string(t.Direction)),
		paint("1", endpoint(t.Src.Namespace, t.Src.Workload)), paint("1", endpoint(t.Dst.Namespace, t.Dst.Workload)))
	if t.Service != "" {
		fmt.Fprintf(&b, " by service %s", t.Service)
	}
	fmt.Fprintf(&b, "  %s\n", seconds(t.TotalSeconds))
	fmt.Fprintf(&b, "  %s %s → %s", t.First.Protocol, t.First.Source, t.First.Destination)
	if t.First != t.Last {
		fmt.Fprintf(&b, ", on the wire %s → %s", t.Last.Source, t.Last.Destination)
	}
	fmt.Fprintf(&b, ", %d bytes\n", t.Bytes.IP)
	if t.Skipped > 0 {
		fmt.Fprintf(&b, "  (%d hooks after the sixth are not shown)\n", t.Skipped)
	}
	var passed float64
	for _, s := range t.Stages {
		writeStage(&b, &s, passed, t.TotalSeconds)
		passed += s.Seconds
	}
	if t.At != nil {
		writeStage(&b, t.At, passed, t.TotalSeconds)
	}
	if d := t.Drop; d != nil {
		word := "lost"
		if !d.Loss {
			word = "freed"
		}
		fmt.Fprintf(&b, "  %s\n", paint("1;31", fmt.Sprintf("%s in %s at %s: %s, by %s", word, d.Stage, orDash(d.Device),
			d.Reason, orDash(d.Location))))
	}
	if t.Missed > 0 {
		fmt.Fprintf(&b, "  (%d journeys before this one did not reach us in time)\n", t.Missed)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func writeStage(b *strings.Builder, s *export.TraceStage, passed, total float64) {
	took := seconds(s.Seconds)
	switch {
	case s.NoQueue:
		took = "no queue"
	case s.Untimed:
		took = "not timed"
	}
	fmt.Fprintf(b, "  %-9s %-15s %10s  %s\n", s.Stage, orDash(s.Device), took, span(passed, s.Seconds, total))
}

// span draws the part of a whole that begins at from and is length long.
func span(from, length, total float64) string {
	if total <= 0 {
		return ""
	}
	begin := min(int(from/total*traceBar), traceBar-1)
	end := max(begin+1, min(int((from+length)/total*traceBar+0.5), traceBar))
	return strings.TrimRight(strings.Repeat(" ", begin)+strings.Repeat("█", end-begin), " ")
}

func endpoint(namespace, workload string) string {
	if namespace == "" {
		return workload
	}
	return namespace + "/" + workload
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// seconds writes a time with about three digits and a fitting unit.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	precision := time.Nanosecond
	for limit := 1000 * time.Nanosecond; d >= limit; limit *= 10 {
		precision *= 10
	}
	return d.Round(precision).String()
}
