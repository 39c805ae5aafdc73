package diagnose

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	textWidth = 100 // columns
	// A screen holds so many findings and pairs of each; the rest is counted.
	textFindings, textPairs, textCoverage, textUnhurt = 3, 3, 3, 2
)

// WriteText writes the report for people: one screen, plain enough for a chat, with colours on a terminal.
func (r *Report) WriteText(w io.Writer, color bool) error {
	out := bufio.NewWriter(w)
	paint := Painter(color).Paint
	code := map[Verdict]string{Healthy: Green, Fault: Red, NoTraffic: Amber, Blind: Amber}[r.Verdict]
	heading := Heading(r.Verdict, r.Findings)
	if r.Verdict == Healthy && heading == WarningHeading {
		code = Amber
	}
	for i, line := range wrap(heading+": "+r.Summary, textWidth) {
		if after, ok := strings.CutPrefix(line, heading+":"); ok && i == 0 {
			fmt.Fprintln(out, paint(code, heading+":")+paint(Bold, after))
			continue
		}
		fmt.Fprintln(out, paint(Bold, line))
	}
	about := fmt.Sprintf("%s from %s", seconds(r.WindowSeconds), r.Started.Format("15:04:05"))
	if r.Node != "" {
		about = r.Node + ", " + about
	}
	print := func(indent string, rows []row) {
		for _, row := range rows {
			for j, line := range row.lines(textWidth - len(indent) - 9) {
				label := ""
				if j == 0 {
					label = row.label
				}
				code := cmp.Or(map[string]string{"unseen": Amber, "do": Bold}[row.label], Faint)
				fmt.Fprintf(out, "%s%s %s\n", indent, paint(code, fmt.Sprintf("%-8s", label)), line)
			}
		}
	}
	print("", slices.Concat(r.toDo(), r.unseen(), r.checked(), []row{{label: "window", text: about}}))
	for i := range r.Findings[:min(textFindings, len(r.Findings))] {
		f := &r.Findings[i]
		code := Amber
		switch f.Severity {
		case Critical:
			code = Red
		case Info:
			code = Faint
		}
		fmt.Fprintf(out, "\n%s  %s: %s  %s\n", paint(code, string(f.Severity)), paint(Bold, string(f.Cause)),
			f.where(), paint(Faint, "confidence "+percent(f.Confidence)))
		print("  ", f.rows())
	}
	if more := len(r.Findings) - textFindings; more > 0 {
		fmt.Fprintf(out, "\n%s more: see -o json\n", plural(uint64(more), "finding"))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// toDo is what to do next: the command that shows what is wrong, and what then.
func (r *Report) toDo() []row {
	switch {
	case len(r.Findings) > 0 && len(r.Findings[0].Next) > 0:
		f := &r.Findings[0]
		rows := []row{{"do", f.Next[0], true}}
		if advice := adviceOn(f.Cause); advice != "" {
			rows = append(rows, row{text: "then: " + advice})
		}
		return rows
	case r.Verdict == NoTraffic:
		return []row{{"do", "tracer check # what is traced, and what is not", true},
			{text: "where another node sends packets to pods here, they did not arrive: the network between, or the sender's node, loses them"}}
	case r.Verdict == Blind:
		return []row{{"do", "tracer check # which hooks are missing, and what hides packets from the others", true}}
	}
	return nil
}

// unseen are sentences on what is not seen. Those of a blind verdict are in the summary.
func (r *Report) unseen() (rows []row) {
	for i := range r.Coverage {
		if c := &r.Coverage[i]; c.Low() && !(r.Verdict == Blind && c.Blind()) {
			rows = append(rows, row{label: "unseen", text: c.Sentence()})
		}
	}
	if len(rows) > textCoverage {
		rows = append(rows[:textCoverage], row{text: fmt.Sprintf("%d more: see -o json", len(rows)-textCoverage)})
	}
	return rows
}

// checked says what was measured of the busiest pairs, and on which nodes the rest of the way can be asked. In a fault, of those
// that it does not hurt.
func (r *Report) checked() (rows []row) {
	most := textPairs
	switch r.Verdict {
	case Fault:
		most = textUnhurt
	case NoTraffic, Blind:
		return nil
	}
	var peers []string
	for i := range r.Checked {
		p := &r.Checked[i]
		if r.Verdict == Fault && r.hurts(&p.Pair) {
			continue
		}
		rows = append(rows, row{text: p.Sentence()})
		if peer := p.peer(); peer != "" && !slices.Contains(peers, peer) {
			peers = append(peers, peer)
		}
		if len(rows) == most {
			break
		}
	}
	if len(rows) == 0 {
		return nil
	}
	rows[0].label = "checked"
	if r.Verdict == Fault {
		return rows
	}
	if more := r.CheckedTotal - len(rows); more > 0 {
		rows = append(rows, row{text: plural(uint64(more), "more pair") + ": see -o json, or tracer top"})
	}
	if len(peers) > 0 {
		rows = append(rows, row{label: "beyond", text: "this is this node's part of the way; ask for the rest: tracer diagnose, on " + strings.Join(peers, " and on ")})
	}
	return rows
}

// hurts tells whether a critical finding names two workloads, in either order, or whom it hurts is not known.
func (r *Report) hurts(pair *Pair) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Severity == Critical && (len(f.Pairs) == 0 || slices.ContainsFunc(f.Pairs, func(p Pair) bool {
			return p.Src == pair.Src && p.Dst == pair.Dst || p.Src == pair.Dst && p.Dst == pair.Src
		}))
	})
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

// row is a line of text with what it is about before it.
type row struct {
	label, text string
	command     bool // to be copied: it stays on one line
}

func (r *row) lines(width int) []string {
	if r.command {
		return []string{r.text}
	}
	return wrap(r.text, width)
}

// figures are the lines of a finding that are numbers, and name nobody.
func (f *Finding) figures() []row {
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
		rows = append(rows, row{label: "delay", text: strings.Join(parts, " · ")})
	}
	if d := f.Drops; d != nil {
		parts := []string{packets(d.Packets)}
		if d.Ratio != nil {
			parts = append(parts, percent(*d.Ratio))
		}
		if d.Reason != "" {
			parts = append(parts, d.Reason)
		}
		rows = append(rows, row{label: "drops", text: strings.Join(parts, " · ")})
	}
	return rows
}

// rows are the lines of a finding.
func (f *Finding) rows() []row {
	rows := f.figures()
	for i, p := range f.Pairs[:min(textPairs, len(f.Pairs))] {
		text := p.Src + " → " + p.Dst
		if p.Service != nil {
			text += " through Service " + *p.Service
		} else if p.EndpointOf != "" {
			text += " as an endpoint of Service " + p.EndpointOf
		}
		label := ""
		if i == 0 {
			label = "pairs"
		}
		if more := f.PairsTotal - textPairs; i == textPairs-1 && more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		rows = append(rows, row{label: label, text: text})
	}
	for i, e := range f.Evidence {
		label := ""
		if i == 0 {
			label = "evidence"
		}
		rows = append(rows, row{label: label, text: e})
	}
	for i, n := range f.Next {
		label := ""
		if i == 0 {
			label = "next"
		}
		rows = append(rows, row{label, n, true})
	}
	return append(rows, row{"more", "tracer explain " + string(f.Cause), true})
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
