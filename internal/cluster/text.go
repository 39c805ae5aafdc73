package cluster

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"tracer/internal/diagnose"
)

// textFindings is how many findings the text has.
const textFindings = 3

// WriteText writes the report for people, with colours on a terminal.
func (r *Report) WriteText(w io.Writer, color bool) error {
	out := bufio.NewWriter(w)
	paint := diagnose.Painter(color).Paint
	all := make([]diagnose.Finding, len(r.Findings))
	for i := range r.Findings {
		all[i] = r.Findings[i].Finding
	}
	heading := diagnose.Heading(r.Verdict, all)
	code := map[string]string{"HEALTHY": diagnose.Green, "FAULT": diagnose.Red}[heading]
	if code == "" {
		code = diagnose.Amber
	}
	fmt.Fprintf(out, "%s %s\n", paint(code, heading+":"), paint(diagnose.Bold, r.Summary))
	for i := range r.Findings[:min(textFindings, len(r.Findings))] {
		f := &r.Findings[i]
		at := ""
		if f.Finding.Device != "" {
			at = " " + strings.Join(strings.Fields(fmt.Sprintf("at %s %s %s", f.Finding.Device, f.Finding.Direction, f.Finding.Stage)), " ")
		}
		fmt.Fprintf(out, "\n%s  %s on %s%s\n", f.Finding.Severity, paint(diagnose.Bold, string(f.Finding.Cause)), list(f.Nodes), at)
		row := func(label, text string) { fmt.Fprintf(out, "  %-8s %s\n", label, text) }
		row("what", f.Finding.Sentence())
		row("", "what it means: tracer explain "+string(f.Finding.Cause))
		for j, p := range f.Finding.Pairs[:min(maxNamed, len(f.Finding.Pairs))] {
			row(first(j, "pairs"), p.Src+" → "+p.Dst)
		}
		for j, o := range f.SeenFrom[:min(maxNamed, len(f.SeenFrom))] {
			row(first(j, "seen"), fmt.Sprintf("from %s as %s (%s): %s", o.Node, o.Cause, o.Severity, o.Text))
		}
		for j, e := range f.Finding.Evidence[:min(maxNamed, len(f.Finding.Evidence))] {
			row(first(j, "because"), e)
		}
		for j, n := range f.Finding.Next {
			row(first(j, "do"), n)
		}
	}
	if more := len(r.Findings) - textFindings; more > 0 {
		fmt.Fprintf(out, "\n%d more findings: see -o json\n", more)
	}
	fmt.Fprintln(out)
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Error != "" {
			fmt.Fprintf(out, "%s: %s\n", n.Name, paint(diagnose.Amber, "no answer: "+n.Error))
			continue
		}
		if len(r.Nodes) <= maxListed {
			fmt.Fprintf(out, "%s: %s: %s\n", n.Name, n.Verdict, n.Summary)
		}
	}
	if len(r.Nodes) > maxListed {
		fmt.Fprintf(out, "%d nodes: see kubectl tracer nodes\n", len(r.Nodes))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// maxListed is up to how many nodes each has a line.
const maxListed = 8

func first(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}
