package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// writeTable prints a line for each part, and below it which tests ran again.
func writeTable(w io.Writer, outcomes []outcome, took time.Duration) {
	fmt.Fprintln(w)
	const line = "%-12s  %6s  %7s  %6s  %7s  %s\n"
	row := func(name string, c counts, took time.Duration, how string) {
		tests := "-"
		if c.tests > 0 {
			tests = fmt.Sprint(c.tests)
		}
		fmt.Fprintf(w, line, name, tests, fmt.Sprintf("%.0f", took.Seconds()), fmt.Sprint(c.reruns), fmt.Sprint(c.skipped), how)
	}
	fmt.Fprintf(w, line, "part", "tests", "seconds", "reruns", "skipped", "")
	var sum counts
	failed := 0
	for _, o := range outcomes {
		how := "passed"
		if o.err != nil {
			how = "FAILED"
			failed++
		}
		row(o.name, o.counts, o.took, how)
		sum.tests += o.tests
		sum.reruns += o.reruns
		sum.skipped += o.skipped
	}
	how := "passed"
	if failed > 0 {
		how = fmt.Sprintf("%d FAILED", failed)
	}
	row("all", sum, took, how)
	for _, o := range outcomes {
		if len(o.ranAgain) > 0 {
			fmt.Fprintf(w, "ran again in %s: %s\n", o.name, strings.Join(o.ranAgain, ", "))
		}
	}
}

// writeFailures prints the ends of the logs in dir of the parts that failed: of a run that somebody else's machine has made, the last
// lines may be all that is seen.
func writeFailures(w io.Writer, outcomes []outcome, dir string) {
	for _, o := range outcomes {
		if o.err == nil || o.took == 0 {
			continue // or it did not run
		}
		name := filepath.Join(dir, o.name+".log")
		text, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintf(w, "\n== %v\n", err)
			continue
		}
		fmt.Fprintf(w, "\n== the end of %s:\n%s", name, lastLines(text, 20))
	}
}
