package top

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"tracer/internal/filter"
	"tracer/internal/overview"
)

// The smallest terminal on which the view is readable.
const (
	minWidth  = 40
	minHeight = 8
)

// View draws the screen.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "tracer top"
	if m.typing {
		if v.Cursor = m.input.Cursor(); v.Cursor != nil {
			v.Cursor.Y = m.height - 1
		}
	}
	return v
}

// lines are the screen's: as many as it has at most, and none wider than it.
func (m *model) lines() []string {
	switch {
	case m.width < minWidth || m.height < minHeight:
		return []string{ansi.Truncate(fmt.Sprintf("%d×%d is too small", m.width, m.height), m.width, ""),
			ansi.Truncate(fmt.Sprintf("needs %d×%d", minWidth, minHeight), m.width, "")}[:max(1, min(2, m.height))]
	case m.latest == nil && m.streamErr != nil:
		return []string{m.styles.bad.Render("no data"), ansi.Wordwrap(oneLine(m.streamErr), m.width, ""), "trying again; q quits"}
	case m.latest == nil:
		return []string{"waiting for the first figures …"}
	}
	lines := append(m.header(), m.tabs())
	height := m.height - len(lines) - 1
	switch {
	case m.mode != modeTable:
		body := m.body()
		lines = append(lines, body[min(m.bodyOffset, max(0, len(body)-height)):]...)
	case m.query.By == overview.ByDevice:
		if nodes := m.styles.nodes(m.latest.Nodes, m.width); len(nodes) > 0 {
			nodes = append(nodes[:min(len(nodes), max(2, height/2))], "")
			lines, height = append(lines, nodes...), height-len(nodes)
		}
		lines = append(lines, m.devices(height)...)
	default:
		lines = append(lines, m.table(height)...)
	}
	if free := m.height - 2 - len(lines); m.mode == modeTable {
		if found := m.styles.findings(m.latest, m.width, free); len(found) > 0 {
			lines = append(append(lines, ""), found...)
		}
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:m.height-1], m.footer())
	if wrong, ok := errors.AsType[*filter.SyntaxError](m.filterErr); ok && m.typing {
		lines[m.height-2] = m.styles.bad.Render(pointAt(wrong, m.width))
	}
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "")
	}
	return lines
}

// body is the lines of a detail or of help. There may be more than the screen has.
func (m *model) body() []string {
	switch m.mode {
	case modeDetail:
		return m.detail()
	case modeDevice:
		return m.device()
	}
	lines := slices.Clone(help)
	if missing := m.latest.HooksMissing; len(missing) > 0 {
		lines = append(lines, "", m.styles.bad.Render("Hooks that are missing:"))
		lines = append(lines, missing...)
	}
	return lines
}

// pointAt says what is wrong with the filter, with a mark above its place: behind the mark, or before it if there is more room.
func pointAt(e *filter.SyntaxError, width int) string {
	at := 1 + utf8.RuneCountInString(e.Text[:e.At]) // behind the prompt
	if text := e.Problem + " "; at > width/2 && len(text) < at {
		return strings.Repeat(" ", at-utf8.RuneCountInString(text)) + text + "^"
	}
	return strings.Repeat(" ", at) + "^ " + e.Problem
}

// footer is the filter as it is typed, or what the keys do.
func (m *model) footer() string {
	if m.typing {
		return m.input.View()
	}
	keys := "enter look  / filter  s sort  space pause  ? help  q quit"
	if m.mode != modeTable {
		keys = "esc back  space pause  ? help  q quit"
	}
	if n := len(m.latest.Findings); n > 0 {
		goes := "v verdict  "
		if m.mode != modeTable && n > 1 {
			goes = "v next finding  "
		}
		keys = goes + keys
	}
	left := m.styles.faint.Render(keys)
	right := ""
	if f := m.query.Filter.String(); f != "" && m.mode == modeTable {
		right = m.styles.warn.Render("filter: " + f)
	} else if m.mode == modeTable && m.query.By != overview.ByDevice && m.latest.RowsTotal > 0 {
		right = fmt.Sprintf("%d of %d", min(m.cursor+1, m.latest.RowsTotal), m.latest.RowsTotal)
	}
	if m.mode != modeTable && len(m.body())-m.bodyOffset > m.page()+1 {
		right = "↓ more"
	}
	if m.width < 70 && right != "" {
		return ends(m.styles.faint.Render("/ filter  ? help  q quit"), right, m.width)
	}
	return ends(left, right, m.width)
}

// page is how many rows are on the screen.
func (m *model) page() int {
	above := 3
	if m.latest != nil {
		above = len(m.header())
	}
	return max(1, m.height-above-3) // tabs, head, footer
}
