// Package top is the live view on a terminal: rows of an overview, a row or a device in detail, and keys to move, sort and filter.
// Run shows it from a Source until the person quits; WriteTable prints one overview without a terminal.
package top

import (
	"context"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"tracer/internal/overview"
)

// rowLimit is how many rows are asked for: as many as a person may scroll through. A filter finds the others.
const rowLimit = 100

// mode is what is on the screen.
type mode uint8

const (
	modeTable  mode = iota // of pairs, services, flows or devices
	modeDetail             // of one pair
	modeDevice             // of one device
	modeHelp
)

// Options are a view's. Source and Now are required.
type Options struct {
	Source  Source
	Query   overview.Query
	Version string // ours
	Now     func() time.Time
}

// model is the state of the view. Nobody changes the overviews in it.
type model struct {
	options Options
	stream  *stream
	query   overview.Query
	styles  styles

	width, height        int
	mode, modeBeforeHelp mode
	cursor, offset       int
	bodyOffset           int    // lines of the body above the screen
	selected             string // the rowKey of the row under the cursor, which follows it as rows move; "" for whichever is first
	deviceName           string
	finding              int // that the view went to last by its key, −1 for none

	latest    *overview.Overview // nil until the first one is there
	received  time.Time
	streamErr error // why there is nothing newer than latest, if there is not
	paused    bool
	stepped   bool // while paused: the next overview is shown

	input     textinput.Model // of the filter
	typing    bool
	filterErr error // what is wrong with the filter as typed
}

// newModel returns a view that reads from its source until ctx ends.
func newModel(ctx context.Context, o Options) *model {
	o.Query.Limit = rowLimit
	input := textinput.New()
	input.Prompt = "/"
	input.SetVirtualCursor(false) // the terminal blinks its own, at no cost
	return &model{
		options: o, stream: &stream{ctx: ctx, source: o.Source}, query: o.Query, styles: newStyles(false),
		width: 80, height: 24, input: input, finding: -1,
	}
}

// Init opens the stream.
func (m *model) Init() tea.Cmd { return m.stream.open(m.query) }

// tickMsg redraws the age of data that is old.
type tickMsg struct{}

func tick() tea.Cmd { return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg{} }) }

// Update takes in what happened.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.scroll()
	case tea.ColorProfileMsg:
		m.styles = newStyles(msg.Profile > colorprofile.ASCII)
	case overviewMsg:
		if msg.query != m.stream.query {
			return m, nil // of an earlier query
		}
		m.receive(msg.overview)
		return m, m.stream.next()
	case errorMsg:
		if msg.query != m.stream.query {
			return m, nil
		}
		fresh := m.streamErr == nil
		m.streamErr = msg.err
		if fresh {
			return m, tea.Batch(m.stream.next(), tick())
		}
		return m, m.stream.next()
	case tickMsg:
		if m.streamErr != nil {
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

// receive shows an overview, unless the view is paused.
func (m *model) receive(o *overview.Overview) {
	m.streamErr = nil
	if m.paused && !m.stepped && m.latest != nil && m.latest.By == o.By {
		return
	}
	m.stepped = false
	m.latest, m.received = o, m.now()
	m.keepSelection()
}
