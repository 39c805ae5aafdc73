package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// How much of a finding is told.
const (
	findingTitle = iota // what and where
	findingNext         // and the command that shows it
	findingWhy          // and a line of evidence
	findingAll          // all of both
)

// findingLines are a finding's, by its index.
func (s *styles) findingLines(o *overview.Overview, i, detail, width int) []string {
	f := &o.Findings[i]
	paint := s.warn
	if f.Severity == diagnose.Critical {
		paint = s.bad
	}
	what, place := "", strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", f.Stage, f.Device, f.Direction)), " ")
	if i < len(o.Sentences) {
		what = o.Sentences[i]
	}
	switch {
	case what == "" && place == "":
		what = "beyond this node"
	case what == "":
		what = place
	case place != "" && !strings.HasPrefix(what, f.Device+" "): // it says where itself
		what = place + ": " + what
	}
	title := paint.Render(string(f.Severity)) + "  " + s.bold.Render(string(f.Cause)) + "  " + what
	lines := strings.Split(ansi.Wordwrap(title, width, ""), "\n")
	evidence, next := f.Evidence, f.Next
	switch detail {
	case findingTitle:
		return lines
	case findingNext:
		evidence, next = nil, next[:min(1, len(next))]
	case findingWhy:
		evidence, next = evidence[:min(1, len(evidence))], next[:min(1, len(next))]
	}
	for _, e := range evidence {
		lines = append(lines, hanging("  · ", e, width)...)
	}
	for _, n := range next {
		lines = append(lines, hanging("  $ ", n, width)...)
	}
	return lines
}

// hanging wraps a text behind a mark.
func hanging(mark, text string, width int) []string {
	lines := strings.Split(ansi.Wordwrap(text, max(10, width-len(mark)), ""), "\n")
	for i := range lines {
		if i > 0 {
			mark = strings.Repeat(" ", ansi.StringWidth(mark))
		}
		lines[i] = mark + lines[i]
	}
	return lines
}

// findings are the findings as they fit into so many lines: all of them before more of each.
func (s *styles) findings(o *overview.Overview, width, height int) []string {
	if len(o.Findings) == 0 || height < 2 {
		return nil
	}
	head := s.head.Render(fmt.Sprintf("FINDINGS OF THE LAST %s", strings.ToUpper(windowText(o))))
	var lines []string
	for detail := findingAll; detail >= findingTitle; detail-- {
		lines = []string{head}
		for i := range o.Findings {
			lines = append(lines, s.findingLines(o, i, detail, width)...)
		}
		if len(lines) <= height {
			return lines
		}
	}
	lines = []string{head}
	for i := range o.Findings {
		more := s.findingLines(o, i, findingTitle, width)
		if i == 0 && len(more) > height-2 {
			return nil
		}
		if len(lines)+len(more) > height-1 {
			return append(lines, s.faint.Render(fmt.Sprintf("%d more: v goes to each", len(o.Findings)-i)))
		}
		lines = append(lines, more...)
	}
	return lines
}

// windowText is the window that the verdict is about.
func windowText(o *overview.Overview) string {
	return fmt.Sprintf("%.0f s", max(1, cmp.Or(o.VerdictWindowSeconds, o.WindowSeconds)))
}

// nextFinding is the index of the finding that the key goes to: the first, or of those that it has gone through the next.
func (m *model) nextFinding() int {
	if m.mode == modeTable || m.finding < 0 {
		return 0
	}
	return (m.finding + 1) % len(m.latest.Findings)
}

// placeOf is where a finding is to be looked at: the device it is at, else the first pair that it names.
func (m *model) placeOf(i int) (device string, pair *aggregate.PairKey) {
	o, f := m.latest, &m.latest.Findings[i]
	atPods := ""
	for n := range o.Devices {
		d := &o.Devices[n]
		switch {
		case d.Name == f.Device:
			return d.Name, nil
		case atPods == "" && slices.Contains(o.FindingsAt(d), i):
			atPods = d.Name
		}
	}
	if len(f.Pairs) == 0 {
		return atPods, nil
	}
	key := aggregate.PairKey{Direction: cmp.Or(f.Direction, journey.Out)}
	key.SrcNamespace, key.SrcWorkload = splitName(f.Pairs[0].Src)
	key.DstNamespace, key.DstWorkload = splitName(f.Pairs[0].Dst)
	if direction := key.Direction; f.Direction == "" { // as the node sees it most
		most := -1.0
		for n := range o.Rows {
			row := o.Rows[n].Key()
			key.Direction = row.Direction
			if row == key && o.Rows[n].PacketsPerSecond > most {
				most, direction = o.Rows[n].PacketsPerSecond, row.Direction
			}
		}
		key.Direction = direction
	}
	return "", &key
}

// splitName takes namespace/name apart.
func splitName(text string) (namespace, name string) {
	if namespace, name, ok := strings.Cut(text, "/"); ok {
		return namespace, name
	}
	return "", text
}
