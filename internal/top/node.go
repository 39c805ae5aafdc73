package top

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
)

// nodes draws the table of a cluster's nodes; none if there are none, as in a node's own view.
func (s *styles) nodes(all []overview.Node, width int) []string {
	if len(all) == 0 {
		return nil
	}
	name := len("NODE")
	for i := range all {
		name = max(name, ansi.StringWidth(all[i].Name))
	}
	name = min(name, max(minNameWidth, width/3))
	line := func(cells ...string) string {
		return fmt.Sprintf("%s %5s %5s %6s %5s %5s  %s", fit(cells[0], name, false), cells[1], cells[2], cells[3], cells[4], cells[5], cells[6])
	}
	lines := []string{s.head.Render(line("NODE", "PKT/S", "BIT/S", "LOST/S", "HOOKS", "SEEN", "FINDINGS"))}
	for i := range all {
		n := &all[i]
		if n.Error != "" {
			lines = append(lines, line(n.Name, "-", "-", "-", "-", "-", s.bad.Render("no answer: "+strings.Join(strings.Fields(n.Error), " "))))
			continue
		}
		seen := "-"
		if n.Coverage != nil {
			seen = fmt.Sprintf("%.0f %%", 100**n.Coverage)
		}
		lines = append(lines, line(n.Name, si(n.PacketsPerSecond), si(n.BitsPerSecond), orBlank(n.DropsPerSecond),
			fmt.Sprintf("%d/%d", n.HooksUp, n.HooksUp+n.HooksMissing), seen, s.nodeFindings(n)))
	}
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], width, "…")
	}
	return lines
}

// nodeFindings are a node's, or its verdict where that says more.
func (s *styles) nodeFindings(n *overview.Node) string {
	var said []string
	for _, c := range n.Causes {
		said = append(said, string(c))
	}
	text := strings.Join(said, ", ")
	switch {
	case n.Verdict == diagnose.Fault:
		text = s.bad.Render(text)
	case n.Verdict != diagnose.Healthy:
		text = strings.TrimSpace(string(n.Verdict) + " " + text)
	}
	if n.RowsLeftOut > 0 {
		text = strings.TrimSpace(text + s.faint.Render(fmt.Sprintf(" (%d more flows are not counted here)", n.RowsLeftOut)))
	}
	return text
}
