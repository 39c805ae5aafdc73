package top

import (
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"tracer/internal/format"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// styles are few and of the terminal's own 16 colours, so that they follow its scheme. Colour alone carries no information.
type styles struct {
	color                                    bool
	bold, faint, bad, warn, good, head, mark lipgloss.Style
}

func newStyles(color bool) styles {
	plain := lipgloss.NewStyle()
	s := styles{color: color, bold: plain, faint: plain, bad: plain, warn: plain, good: plain, head: plain, mark: plain}
	if color {
		s.bold = plain.Bold(true)
		s.faint = plain.Faint(true)
		s.bad = plain.Bold(true).Foreground(ansi.Red)
		s.warn = plain.Foreground(ansi.Yellow)
		s.good = plain.Foreground(ansi.Green)
		s.head = plain.Bold(true).Foreground(ansi.Cyan)
	}
	// Reverse video is no colour: terminals without any have it too.
	s.mark = plain.Reverse(true)
	return s
}

// legendStages are the stages of the legend, in the order of a packet's path.
var legendStages = []journey.Stage{journey.PodQueue, journey.Decap, journey.Forward, journey.Queue, journey.Encap, journey.Deliver}

// block is what a stage's part of a bar is made of.
func (s *styles) block(stage journey.Stage) string {
	if s.color {
		return "█"
	}
	for _, known := range legendStages {
		if stage == known {
			return stageLetter(stage)
		}
	}
	return "?"
}

func stageLetter(stage journey.Stage) string {
	if stage == journey.Deliver {
		return "v" // d is decap's
	}
	return string(stage)[:1]
}

// stage colours a text as the stage's.
func (s *styles) stage(stage journey.Stage, text string) string {
	if !s.color || text == "" {
		return text
	}
	return lipgloss.NewStyle().Foreground(ansi.BasicColor(format.StageColor(stage))).Render(text)
}

// legend says which stage each part of a bar is, the seldom one if any row has it.
func (s *styles) legend(rows []overview.Row) string {
	var parts []string
	for _, stage := range legendStages {
		has := func(at overview.Stage) bool { return at.Stage == stage }
		if stage != journey.PodQueue || slices.ContainsFunc(rows, func(r overview.Row) bool { return slices.ContainsFunc(r.Stages, has) }) {
			parts = append(parts, s.stage(stage, s.block(stage))+" "+string(stage))
		}
	}
	return strings.Join(parts, " ")
}

// fit makes a text so many columns wide.
func fit(text string, width int, right bool) string {
	if width <= 0 {
		return ""
	}
	n := ansi.StringWidth(text)
	switch {
	case n > width:
		return ansi.Truncate(text, width, "…")
	case right:
		return strings.Repeat(" ", width-n) + text
	}
	return text + strings.Repeat(" ", width-n)
}

// ends puts one text at the left of a line and one at the right; the left one is cut if they do not fit.
func ends(left, right string, width int) string {
	n := ansi.StringWidth(right)
	if n == 0 || n+8 > width {
		return ansi.Truncate(left, width, "…")
	}
	return fit(left, width-n-1, false) + " " + right
}
