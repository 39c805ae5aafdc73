// Package top is the live view of a terminal: where the time goes, pair by pair.
package top

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"

	"tracer/internal/filter"
	"tracer/internal/overview"
)

// The smallest terminal that anything can be seen on.
const (
	leastWidth  = 40
	leastHeight = 8
)

// rowLimit is how many rows are asked for: what a person may scroll through. The filter finds the others.
const rowLimit = 100

// mode is what is on the screen.
type mode uint8

const (
	modeTable  mode = iota // of pairs, services, flows or devices
	modeDetail             // of one pair
	modeDevice             // of one device
	modeHelp
)

// Options of a Model. Source and Now are required.
type Options struct {
	Source  Source
	Query   overview.Query
	Version string // ours
	Now     func() time.Time
}

// Model is the state of the view. The overviews in it are shared with nobody who changes them.
type Model struct {
	options Options
	feed    *feed
	query   overview.Query
	styles  styles

	width, height  int
	mode, before   mode // before is what help covers
	cursor, offset int
	down           int    // lines of the body above the screen
	chosen         string // what the cursor is on, followed as rows change places; "" for whatever is first
	deviceName     string

	latest   *overview.Overview // nil until the first one is there
	received time.Time
	stale    error // why latest is old, if it is
	paused   bool

	input  textinput.Model // of the filter
	typing bool
	wrong  error // why what is typed is no filter
}

// New returns a view that reads from its source until ctx ends.
func New(ctx context.Context, o Options) *Model {
	o.Query.Limit = rowLimit
	input := textinput.New()
	input.Prompt = "/"
	input.SetVirtualCursor(false) // the terminal blinks its own, at no cost
	return &Model{
		options: o, feed: &feed{ctx: ctx, source: o.Source}, query: o.Query, styles: newStyles(false),
		width: 80, height: 24, input: input,
	}
}

// Init opens the stream.
func (m *Model) Init() tea.Cmd { return m.feed.ask(m.query) }

// tickMsg lets the age of stale data grow.
type tickMsg struct{}

func tick() tea.Cmd { return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg{} }) }

// Update takes in what happened.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.scroll()
	case tea.ColorProfileMsg:
		m.styles = newStyles(msg.Profile > colorprofile.ASCII)
	case frameMsg:
		if msg.query != m.feed.query {
			return m, nil // of a query before
		}
		m.take(msg.overview)
		return m, m.feed.next()
	case failMsg:
		if msg.query != m.feed.query {
			return m, nil
		}
		fresh := m.stale == nil
		m.stale = msg.err
		if fresh {
			return m, tea.Batch(m.feed.next(), tick())
		}
		return m, m.feed.next()
	case tickMsg:
		if m.stale != nil {
			return m, tick()
		}
	case tea.KeyPressMsg:
		if m.typing {
			return m, m.typeKey(msg)
		}
		return m, m.key(msg)
	default:
		if m.typing {
			var cmd tea.Cmd
			m.input, cmd = m.input.Update(msg)
			return m, cmd
		}
	}
	return m, nil
}

// take shows an overview, unless the view is paused. A frame that has no flows yet does not replace one that has.
func (m *Model) take(o *overview.Overview) {
	m.stale = nil
	if m.paused && m.latest != nil && m.latest.By == o.By {
		return
	}
	m.latest, m.received = o, m.now()
	m.follow()
}

// follow puts the cursor onto what it was on.
func (m *Model) follow() {
	n := m.count()
	if m.chosen != "" {
		for i := range n {
			if m.nameOf(i) == m.chosen {
				m.cursor = i
				break
			}
		}
	}
	m.move(0)
}

// count is how many rows the table has.
func (m *Model) count() int {
	switch {
	case m.latest == nil:
		return 0
	case m.query.By == overview.ByDevice:
		return len(m.latest.Devices)
	}
	return len(m.latest.Rows)
}

// nameOf tells a row from others.
func (m *Model) nameOf(i int) string {
	if m.query.By == overview.ByDevice {
		return m.latest.Devices[i].Name
	}
	r := &m.latest.Rows[i]
	return strings.Join([]string{r.Src.String(), r.Dst.String(), r.Service, r.Protocol, string(r.Direction)}, "|")
}

// move moves the cursor and keeps it within the rows.
func (m *Model) move(by int) {
	n := m.count()
	m.cursor = max(0, min(m.cursor+by, n-1))
	if by != 0 && n > 0 {
		m.chosen = m.nameOf(m.cursor)
		if m.cursor == 0 {
			m.chosen = ""
		}
	}
	m.scroll()
}

// scroll keeps the cursor in sight.
func (m *Model) scroll() {
	page := m.page()
	if m.cursor < m.offset {
		m.offset = m.cursor
	}
	if m.cursor >= m.offset+page {
		m.offset = m.cursor - page + 1
	}
	m.offset = max(0, min(m.offset, m.count()-page))
}

// scrollBody goes up or down in what is longer than the screen.
func (m *Model) scrollBody(by int) {
	if m.latest != nil {
		m.down = max(0, min(m.down+by, len(m.body())-m.page()-1)) // there is no table's head
	}
}

// page is how many rows are in sight.
func (m *Model) page() int {
	above := 3
	if m.latest != nil {
		above = len(m.header())
	}
	return max(1, m.height-above-3) // tabs, head, footer
}

// View draws the screen.
func (m *Model) View() tea.View {
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

// lines are the screen's, none of them wider and all of them not more than it.
func (m *Model) lines() []string {
	switch {
	case m.width < leastWidth || m.height < leastHeight:
		return []string{ansi.Truncate(fmt.Sprintf("%d×%d is too small", m.width, m.height), m.width, ""),
			ansi.Truncate(fmt.Sprintf("needs %d×%d", leastWidth, leastHeight), m.width, "")}[:max(1, min(2, m.height))]
	case m.latest == nil && m.stale != nil:
		return []string{m.styles.bad.Render("no data"), ansi.Wordwrap(oneLine(m.stale), m.width, ""), "trying again; q quits"}
	case m.latest == nil:
		return []string{"waiting for the first figures …"}
	}
	lines := append(m.header(), m.tabs())
	height := m.height - len(lines) - 1
	switch {
	case m.mode != modeTable:
		body := m.body()
		lines = append(lines, body[min(m.down, max(0, len(body)-height)):]...)
	case m.query.By == overview.ByDevice:
		lines = append(lines, m.devices(height)...)
	default:
		lines = append(lines, m.table(height)...)
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:m.height-1], m.footer())
	if wrong, ok := errors.AsType[*filter.SyntaxError](m.wrong); ok && m.typing {
		lines[m.height-2] = m.styles.bad.Render(pointAt(wrong, m.width))
	}
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "")
	}
	return lines
}

// body is what there is to read but in a table: it may be longer than the screen.
func (m *Model) body() []string {
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

// pointAt says what is wrong with what is typed, with a mark above its place; before it where there is more room.
func pointAt(e *filter.SyntaxError, width int) string {
	at := 1 + utf8.RuneCountInString(e.Text[:e.At]) // behind the prompt
	if text := e.Problem + " "; at > width/2 && len(text) < at {
		return strings.Repeat(" ", at-utf8.RuneCountInString(text)) + text + "^"
	}
	return strings.Repeat(" ", at) + "^ " + e.Problem
}

// footer is the filter that is typed, or what the keys do.
func (m *Model) footer() string {
	if m.typing {
		return m.input.View()
	}
	keys := "enter look  / filter  s sort  space pause  ? help  q quit"
	if m.mode != modeTable {
		keys = "esc back  space pause  ? help  q quit"
	}
	left := m.styles.faint.Render(keys)
	right := ""
	if f := m.query.Filter.String(); f != "" && m.mode == modeTable {
		right = m.styles.warn.Render("filter: " + f)
	} else if m.mode == modeTable && m.query.By != overview.ByDevice && m.latest.RowsTotal > 0 {
		right = fmt.Sprintf("%d of %d", min(m.cursor+1, m.latest.RowsTotal), m.latest.RowsTotal)
	}
	if m.mode != modeTable && len(m.body())-m.down > m.page()+1 {
		right = "↓ more"
	}
	if m.width < 70 && right != "" {
		return ends(m.styles.faint.Render("/ filter  ? help  q quit"), right, m.width)
	}
	return ends(left, right, m.width)
}
