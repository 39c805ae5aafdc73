package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// result is what came of a run, as the table has it and as a guest tells it.
type result struct {
	Run      string  `json:"run"`
	Healthy  bool    `json:"healthy"` // one of those of which nothing may be said
	Expected string  `json:"expected"`
	Got      string  `json:"got"`
	Injected string  `json:"injected"` // the causes of what is expected, or healthy
	Said     string  `json:"said"`     // the cause named first, or the verdict
	Seconds  float64 `json:"seconds"`
	Right    bool    `json:"right"` // named, or silent
	Tries    int     `json:"tries"` // how often it was played
	Error    string  `json:"error,omitempty"`
	Report   []byte  `json:"report,omitempty"` // what tracer printed
}

func (o *outcome) result() result {
	r := result{
		Run: o.String(), Healthy: o.healthy(), Expected: o.expected.String(), Got: o.said.String(), Seconds: o.took.Seconds(),
		Injected: o.expected.injected(), Said: o.answer(), Right: o.named(), Tries: o.tries, Report: o.printed,
	}
	if r.Healthy {
		r.Right = o.err == nil && !o.alarm()
	}
	if o.err != nil {
		r.Error = o.err.Error()
	}
	return r
}

// mark is a result in a word.
func (r *result) mark() string {
	word := map[[2]bool]string{{true, true}: "silent", {true, false}: "FALSE ALARM", {false, true}: "named", {false, false}: "MISSED"}
	switch {
	case r.Error != "":
		return "ERROR"
	case r.Tries > 1:
		return fmt.Sprintf("%s, played %d times", word[[2]bool{r.Healthy, r.Right}], r.Tries)
	}
	return word[[2]bool{r.Healthy, r.Right}]
}

// writeTable prints one line for each run, and below it, where the end of a long log has it, all of those that were not
// as they should be: what was expected, and every word that tracer said.
func writeTable(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\texpected\tgot\tseconds\t")
	for _, r := range results {
		seconds := fmt.Sprintf("%.1f", r.Seconds)
		if r.Seconds == 0 {
			seconds = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Run, r.Expected, r.Got, seconds, r.mark())
	}
	_ = t.Flush()
	for _, r := range results {
		if r.Error == "" && r.Right {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s: expected %s, got %s\n", r.Run, r.mark(), r.Expected, cmp.Or(r.Got, "nothing"))
		if r.Error != "" {
			fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(r.Error, "\n", "\n  "))
		}
		if report, err := parseReport(r.Report); err == nil {
			report.write(w)
		}
	}
}

// score is what it all comes to.
type score struct {
	named, faults   int
	alarms, healthy int
	errors          int
	again           int // how often a run was played once more
}

func count(results []result) score {
	var s score
	for _, r := range results {
		if r.Error != "" {
			s.errors++
		}
		s.again += max(0, r.Tries-1)
		switch {
		case r.Healthy:
			s.healthy++
			if !r.Right && r.Error == "" {
				s.alarms++
			}
		default:
			s.faults++
			if r.Right {
				s.named++
			}
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
	if s.again > 0 {
		fmt.Fprintf(w, "%d runs were played again\n", s.again)
	}
	fmt.Fprintf(w, "scoreboard: %d/%d faults named, %d/%d false alarms\n", s.named, s.faults, s.alarms, s.healthy)
}
