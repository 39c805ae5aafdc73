package top

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"

	"tracer/internal/overview"
)

// No view may leave a stream behind.
func TestMain(m *testing.M) {
	time.Local = time.UTC                                                                    // as the goldens have it
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("charm.land/bubbletea/v2.Tick.func1")) // ends by itself
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// story is an overview as an agent sends it: those that internal/overview's own goldens keep.
func story(t testing.TB, name string) *overview.Overview {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "overview", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var o overview.Overview
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return &o
}

// fakeSource answers queries with the stories, and keeps what it was asked.
type fakeSource struct {
	t testing.TB

	mu      sync.Mutex
	queries []overview.Query
	failing error
}

func (f *fakeSource) Overviews(ctx context.Context, q overview.Query) iter.Seq2[*overview.Overview, error] {
	f.mu.Lock()
	f.queries = append(f.queries, q)
	f.mu.Unlock()
	name := string(q.By)
	if q.Pair != nil {
		name = "detail"
	}
	o := story(f.t, name)
	o.Rows = q.Filter.Apply(o.Rows)
	if o.Rows != nil {
		o.Rows = q.Sort.Rows(o.Rows, 0)
	}
	return func(yield func(*overview.Overview, error) bool) {
		f.mu.Lock()
		err := f.failing
		f.mu.Unlock()
		if err != nil {
			yield(nil, err)
			return
		}
		if yield(o, nil) {
			<-ctx.Done()
		}
	}
}

func (f *fakeSource) last() overview.Query {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queries[len(f.queries)-1]
}

func (f *fakeSource) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = err
}

// screen is a view that a test drives by hand, without a terminal.
type screen struct {
	testing.TB
	*model
	source *fakeSource
	asked  int // the last query that was answered
	clock  time.Time
}

func newScreen(t testing.TB, width, height int) *screen {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &screen{TB: t, source: &fakeSource{t: t}, clock: noon}
	s.model = newModel(ctx, Options{
		Source: s.source, Query: overview.Query{By: overview.ByPair, Interval: 2 * time.Second}, Version: "v1.2.3",
		Now: func() time.Time { return s.clock },
	})
	s.run(s.Init())
	s.send(tea.WindowSizeMsg{Width: width, Height: height})
	return s
}

// send gives the view a message, and lets it have the answer to what it asks for then.
func (s *screen) send(m tea.Msg) {
	_, cmd := s.Update(m)
	s.run(cmd)
}

// run carries out a command as far as it concerns overviews: the answer is there at once, the ones after it never.
func (s *screen) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	limit := 20 * time.Millisecond // for a timer, or the next overview
	if s.asked != s.stream.query {
		s.asked, limit = s.stream.query, 10*time.Second
	}
	done := make(chan tea.Msg, 1)
	go func() { done <- cmd() }()
	select {
	case m := <-done:
		switch m := m.(type) {
		case overviewMsg, errorMsg:
			s.Update(m)
		case tea.BatchMsg:
			for _, c := range m {
				s.run(c)
			}
		}
	case <-time.After(limit):
	}
}

// press types keys by name.
func (s *screen) press(keys ...string) {
	named := map[string]tea.KeyPressMsg{
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "tab": {Code: tea.KeyTab}, "down": {Code: tea.KeyDown},
		"up": {Code: tea.KeyUp}, "space": {Code: tea.KeySpace, Text: " "}, "end": {Code: tea.KeyEnd}, "home": {Code: tea.KeyHome},
		"backspace": {Code: tea.KeyBackspace},
	}
	for _, k := range keys {
		if m, ok := named[k]; ok {
			s.send(m)
			continue
		}
		for _, r := range k {
			s.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

// text is what a person reads. It checks that nothing is outside of the screen.
func (s *screen) text() string {
	s.Helper()
	lines := strings.Split(s.View().Content, "\n")
	if len(lines) > s.height {
		s.Errorf("%d lines on a screen of %d", len(lines), s.height)
	}
	for i, line := range lines {
		line = ansi.Strip(line)
		if n := ansi.StringWidth(line); n > s.width {
			s.Errorf("line %d is %d wide on a screen of %d: %s", i, n, s.width, line)
		}
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func (s *screen) shows(parts ...string) {
	s.Helper()
	text := s.text()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.Errorf("%q is not on the screen:\n%s", part, text)
		}
	}
}

func (s *screen) hides(parts ...string) {
	s.Helper()
	text := s.text()
	for _, part := range parts {
		if strings.Contains(text, part) {
			s.Errorf("%q is on the screen:\n%s", part, text)
		}
	}
}

func colours(yes bool) tea.Msg {
	if yes {
		return tea.ColorProfileMsg{Profile: colorprofile.ANSI}
	}
	return tea.ColorProfileMsg{Profile: colorprofile.ASCII}
}

var errBroken = errors.New("the agent at /run/tracer/agent.sock has stopped: EOF")
