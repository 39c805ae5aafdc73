package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// What is said of a run, beside causes and verdicts.
const (
	saidWarning = "warning"    // healthy, with a finding that is not critical
	notPlayed   = "not played" // it was not played as it should be, or tracer failed
)

// injected is what is wrong in a scenario: its causes, or that nothing is.
func (e expectation) injected() string {
	var causes []string
	for _, f := range e.Findings {
		if cause := strings.ReplaceAll(text(f.Cause), "|", " or "); !slices.Contains(causes, cause) {
			causes = append(causes, cause)
		}
	}
	if len(causes) == 0 {
		return "healthy"
	}
	return strings.Join(causes, " + ")
}

// answer is what a report says in a word, for what was expected: the cause of what it names first; of one that calls the
// node healthy that is a warning at most, unless a warning is all that was expected.
func (o *outcome) answer() string {
	switch r := o.said; {
	case o.err != nil:
		return notPlayed
	case o.named():
		return o.expected.injected()
	case r.Verdict == "fault" && len(r.Findings) > 0:
		return r.Findings[0].Cause
	case r.Verdict == "healthy" && len(r.Findings) > 0:
		return saidWarning
	default:
		return r.Verdict
	}
}

// writeConfusion writes how often what was injected (rows) was called what (columns), and below it each run that was not
// called right, and each healthy one with a warning.
func writeConfusion(w io.Writer, results []result) {
	counts := map[[2]string]int{}
	runs := map[string]int{}
	var rows, columns []string
	for _, r := range results {
		counts[[2]string{r.Injected, r.Said}]++
		runs[r.Injected]++
		rows, columns = append(rows, r.Injected), append(columns, r.Said)
	}
	// Causes by name, and what names none behind them: so what is right stands on the diagonal.
	last := []string{"healthy", saidWarning, "no-traffic", "blind", notPlayed}
	order := func(x, y string) int {
		if i, j := slices.Index(last, x), slices.Index(last, y); i != j {
			return i - j // a cause has −1
		}
		return strings.Compare(x, y)
	}
	for _, list := range []*[]string{&rows, &columns} {
		slices.SortFunc(*list, order)
		*list = slices.Compact(*list)
	}
	fmt.Fprintf(w, "| injected | runs | %s |\n|---|---:|%s\n", strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s | %d |", row, runs[row])
		for _, column := range columns {
			switch n := counts[[2]string{row, column}]; {
			case n == 0:
				fmt.Fprint(w, " |")
			case row == column:
				fmt.Fprintf(w, " **%d** |", n)
			default:
				fmt.Fprintf(w, " %d |", n)
			}
		}
		fmt.Fprintln(w)
	}
	var wrong, warned []string
	for _, r := range results {
		line := fmt.Sprintf("- `%s` (%s): expected %s, said %s", r.Run, r.mark(), cmp.Or(r.Expected, "nothing"), cmp.Or(r.Got, "nothing"))
		switch {
		case !r.Right:
			wrong = append(wrong, line)
		case r.Said == saidWarning:
			warned = append(warned, line)
		}
	}
	list := func(head string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(w, "\n%s:\n\n%s\n", head, strings.Join(lines, "\n"))
		}
	}
	list("Not called right", wrong)
	list("Healthy, with a warning", warned)
}

const confusionHead = `# What was injected, and what was said

` + "`make scoreboard`" + ` and ` + "`make scoreboard KERNEL=…`" + ` write this page, each its own part, from all of their runs
([scoreboard.md](scoreboard.md) says how they are played and judged). A row is what was broken, by its cause, or nothing
(healthy); a column is what ` + "`tracer diagnose`" + ` said first: a cause, or the verdict. In bold is what is right. ` + "`warning`" + ` is a
verdict of healthy with a finding that is not critical: no false alarm on a healthy cluster, a miss where something was
broken. A seed plays the same again: ` + "`go run ./test/scoreboard -seed N`" + `.
`

// renewConfusion puts a part of the page under its heading, in place of what stood there, and leaves the other parts.
func renewConfusion(path, heading string, part []byte) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("renew the confusion table: %w", err)
	}
	parts := map[string]string{heading: strings.TrimSpace(string(part))}
	_, rest, _ := strings.Cut(string(old), "\n## ")
	for _, section := range strings.Split(rest, "\n## ") {
		if title, body, ok := strings.Cut(section, "\n"); ok && title != heading {
			parts[title] = strings.TrimSpace(body)
		}
	}
	var page bytes.Buffer
	page.WriteString(confusionHead)
	titles := make([]string, 0, len(parts))
	for title := range parts {
		titles = append(titles, title)
	}
	slices.Sort(titles)
	for _, title := range titles {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", title, parts[title])
	}
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("renew the confusion table: %w", err)
	}
	return nil
}
