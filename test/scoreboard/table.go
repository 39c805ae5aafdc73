package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// mark is an outcome in a word.
func (o outcome) mark() string {
	switch {
	case o.err != nil:
		return "ERROR"
	case o.healthy() && o.alarm():
		return "FALSE ALARM"
	case o.healthy():
		return "silent"
	case o.named():
		return "named"
	}
	return "MISSED"
}

// writeTable prints one line for each run, and below it what went wrong with the playing.
func writeTable(w io.Writer, outcomes []outcome) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\texpected\tgot\tseconds\t")
	for _, o := range outcomes {
		got, seconds := o.said.String(), fmt.Sprintf("%.1f", o.took.Seconds())
		if o.took == 0 {
			seconds = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", o, o.expected, got, seconds, o.mark())
	}
	_ = t.Flush()
	for _, o := range outcomes {
		if o.err != nil {
			fmt.Fprintf(w, "\n%s: %s\n", o, strings.ReplaceAll(o.err.Error(), "\n", "\n  "))
		}
	}
}

// score is what it all comes to.
type score struct {
	named, faults   int
	alarms, healthy int
	errors          int
}

func count(outcomes []outcome) score {
	var s score
	for _, o := range outcomes {
		if o.err != nil {
			s.errors++
		}
		if o.healthy() {
			s.healthy++
			if o.alarm() {
				s.alarms++
			}
			continue
		}
		s.faults++
		if o.named() {
			s.named++
		}
	}
	return s
}

// The least share of faults that must be named.
const enough = 0.9

func (s score) ok() bool {
	return s.errors == 0 && s.alarms == 0 && float64(s.named) >= enough*float64(s.faults)
}

func (s score) write(w io.Writer) {
	if s.errors > 0 {
		fmt.Fprintf(w, "%d runs were not played as they should\n", s.errors)
	}
	fmt.Fprintf(w, "scoreboard: %d/%d faults named, %d/%d false alarms\n", s.named, s.faults, s.alarms, s.healthy)
}
