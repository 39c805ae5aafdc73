package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// writeTable prints a line for each part.
func writeTable(w io.Writer, outcomes []outcome, took time.Duration) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "part\ttests\tseconds\treruns\tskipped\t\t")
	var sum counts
	failed := 0
	for _, o := range outcomes {
		how := "passed"
		if o.err != nil {
			how = "FAILED"
			failed++
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%d\t%d\t%s\t\n", o.name, some(o.tests), o.took.Seconds(), o.reruns, o.skipped, how)
		sum.tests += o.tests
		sum.reruns += o.reruns
		sum.skipped += o.skipped
	}
	how := "passed"
	if failed > 0 {
		how = fmt.Sprintf("%d FAILED", failed)
	}
	fmt.Fprintf(t, "all\t%s\t%.0f\t%d\t%d\t%s\t\n", some(sum.tests), took.Seconds(), sum.reruns, sum.skipped, how)
	_ = t.Flush()
}

// some is a number of tests: what has none has no number.
func some(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
