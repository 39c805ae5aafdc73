package diagnose

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	textWidth = 100 // columns
	// A screen holds so many findings and pairs of each; the rest is counted.
	textFindings, textPairs, textCoverage = 3, 3, 3
)

// SGR sequences (ECMA-48) of the text's few colours.
const (
	reset = "\x1b[0m"
	bold  = "\x1b[1m"
	red   = "\x1b[1;31m"
	green = "\x1b[1;32m"
	amber = "\x1b[1;33m"
	faint = "\x1b[2m"
)

// WriteText writes the report for people: one screen, plain enough for a chat, with colours on a terminal.
func (r *Report) WriteText(w io.Writer, color bool) error {
	out := bufio.NewWriter(w)
	paint := func(code, text string) string {
		if !color {
			return text
		}
		return code + text + reset
	}
	verdicts := map[Verdict]string{Healthy: green, Fault: red, NoTraffic: amber, Blind: amber}
	head := fmt.Sprintf("%s from %s", seconds(r.WindowSeconds), r.Started.Format("15:04:05"))
	if r.Node != "" {
		head = r.Node + ", " + head
	}
	fmt.Fprintf(out, "%s  %s\n", paint(verdicts[r.Verdict], strings.ToUpper(strings.ReplaceAll(string(r.Verdict), "-", " "))), paint(faint, head))
	for _, line := range wrap(r.Summary, textWidth) {
		fmt.Fprintln(out, paint(bold, line))
	}
	for _, text := range r.unseen() {
		for j, line := range wrap(text, textWidth-9) {
			label := "        "
			if j == 0 {
				label = "unseen  "
			}
			fmt.Fprintf(out, "%s %s\n", paint(amber, label), line)
		}
	}
	for i := range r.Findings[:min(textFindings, len(r.Findings))] {
		f := &r.Findings[i]
		code := amber
		switch f.Severity {
		case Critical:
			code = red
		case Info:
			code = faint
		}
		fmt.Fprintf(out, "\n%s  %s: %s  %s\n", paint(code, string(f.Severity)), paint(bold, string(f.Cause)),
			f.where(), paint(faint, "confidence "+percent(f.Confidence)))
		for _, row := range f.rows() {
			lines := wrap(row.text, textWidth-11)
			for j, line := range lines {
				label := ""
				if j == 0 {
					label = row.label
				}
				fmt.Fprintf(out, "  %s %s\n", paint(faint, fmt.Sprintf("%-8s", label)), line)
			}
		}
	}
	if more := len(r.Findings) - textFindings; more > 0 {
		fmt.Fprintf(out, "\n%s more: see -o json\n", plural(uint64(more), "finding"))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// unseen are sentences on what is not seen. Those of a blind verdict are in the summary.
func (r *Report) unseen() (rows []string) {
	for i := range r.Coverage {
		if c := &r.Coverage[i]; c.Low() && !(r.Verdict == Blind && c.Blind()) {
			rows = append(rows, c.Sentence())
		}
	}
	if len(rows) > textCoverage {
		rows = append(rows[:textCoverage], fmt.Sprintf("%d more: see -o json", len(rows)-textCoverage))
	}
	return rows
}

// where is the finding's place in words.
func (f *Finding) where() string {
	if f.Stage == "" && f.Device == "" {
		return "beyond this node"
	}
	text := cmp.Or(string(f.Stage), "somewhere")
	if f.Device != "" {
		text += " at " + f.Device
	}
	if f.Direction != "" {
		text += ", " + string(f.Direction)
	}
	return text
}

type row struct{ label, text string }

// rows are the lines of a finding.
func (f *Finding) rows() []row {
	var rows []row
	if d := f.Delay; d != nil {
		var parts []string
		if d.P50 != nil {
			parts = append(parts, "p50 "+seconds(*d.P50), "p99 "+seconds(*d.P99))
		}
		if d.Baseline != nil {
			parts = append(parts, "usual p50 "+seconds(*d.Baseline))
		}
		if d.InFlight > 0 {
			parts = append(parts, fmt.Sprintf("%s in flight, the oldest for %s", packets(d.InFlight), seconds(*d.Oldest)))
		}
		if d.Share != nil {
			of := " of their time on this node"
			if f.Stage == "" && f.Device == "" { // beyond this node
				of = " of the round trip"
			}
			parts = append(parts, percent(*d.Share)+of)
		}
		rows = append(rows, row{"delay", strings.Join(parts, " · ")})
	}
	if d := f.Drops; d != nil {
		parts := []string{packets(d.Packets)}
		if d.Ratio != nil {
			parts = append(parts, percent(*d.Ratio))
		}
		if d.Reason != "" {
			parts = append(parts, d.Reason)
		}
		rows = append(rows, row{"drops", strings.Join(parts, " · ")})
	}
	for i, p := range f.Pairs[:min(textPairs, len(f.Pairs))] {
		text := p.Src + " → " + p.Dst
		if p.Service != nil {
			text += " through Service " + *p.Service
		}
		label := ""
		if i == 0 {
			label = "pairs"
		}
		if more := f.PairsTotal - textPairs; i == textPairs-1 && more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		rows = append(rows, row{label, text})
	}
	for i, e := range f.Evidence {
		label := ""
		if i == 0 {
			label = "evidence"
		}
		rows = append(rows, row{label, e})
	}
	for i, n := range f.Next {
		label := ""
		if i == 0 {
			label = "next"
		}
		rows = append(rows, row{label, n})
	}
	return rows
}

// wrap breaks a text between words into lines of at most width columns; a longer word has a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	line, n := "", 0
	for word := range strings.FieldsSeq(text) {
		w := utf8.RuneCountInString(word)
		if n > 0 && n+1+w > width {
			lines = append(lines, line)
			line, n = "", 0
		}
		if n > 0 {
			line += " "
			n++
		}
		line += word
		n += w
	}
	return append(lines, line)
}
