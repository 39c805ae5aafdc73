package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// stand is a part that runs until it is let go.
type stand struct {
	err     error
	release chan struct{}
	hurried chan struct{}
	once    sync.Once
}

func (s *stand) wait() (counts, error) { <-s.release; return counts{tests: 1}, s.err }
func (s *stand) hurry()                { s.once.Do(func() { close(s.hurried) }) }

// theatre starts stands, and notes the order.
type theatre struct {
	started chan string
	stands  map[string]*stand
}

func newTheatre(names ...string) *theatre {
	t := &theatre{started: make(chan string, len(names)), stands: map[string]*stand{}}
	for _, n := range names {
		t.stands[n] = &stand{release: make(chan struct{}), hurried: make(chan struct{})}
	}
	return t
}

func (t *theatre) start(_ context.Context, p part, _ io.Writer) (running, error) {
	t.started <- p.name
	return t.stands[p.name], nil
}

func (t *theatre) end(name string) { close(t.stands[name].release) }

func TestSchedule(t *testing.T) {
	t.Parallel()
	th := newTheatre("first", "guest", "a", "b", "build", "needs build", "alone")
	s := schedule{print: io.Discard, start: th.start, parts: []part{
		{name: "first"}, {name: "guest", beside: true, after: "first"}, {name: "a", after: "first"}, {name: "b"},
		{name: "build", beside: true}, {name: "alone", alone: true}, {name: "needs build", after: "build"},
	}}
	done := make(chan []outcome)
	go func() { done <- s.run(t.Context()) }()
	next := func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			got = append(got, <-th.started)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%q were started, want %q", got, want)
		}
	}
	// What runs beside keeps its order, but for those that still wait.
	next("first", "build")
	th.end("first")
	next("a")
	th.end("build")
	next("guest")
	th.end("a")
	next("b")
	th.end("b")
	next("needs build")
	th.end("needs build")
	<-th.stands["guest"].hurried // nothing else runs
	select {
	case name := <-th.started:
		t.Errorf("%s was started beside the guest", name)
	default:
	}
	th.end("guest")
	next("alone")
	th.end("alone")
	for _, o := range <-done {
		if o.err != nil || o.tests != 1 {
			t.Errorf("%s: %+v, %v", o.name, o.counts, o.err)
		}
	}
}

func TestScheduleAfterFailure(t *testing.T) {
	t.Parallel()
	th := newTheatre("packages", "lint", "other")
	th.stands["packages"].err = errors.New("no network")
	th.end("packages")
	th.end("other")
	s := schedule{print: io.Discard, start: th.start, parts: []part{{name: "packages"}, {name: "lint", after: "packages"}, {name: "other"}}}
	all := s.run(t.Context())
	if all[0].err == nil || all[1].err == nil || all[2].err != nil || !strings.Contains(all[1].err.Error(), "packages failed") {
		t.Errorf("%+v", all)
	}
}

func TestScheduleInterrupted(t *testing.T) {
	t.Parallel()
	th := newTheatre("first", "second")
	ctx, cancel := context.WithCancel(t.Context())
	s := schedule{print: io.Discard, start: th.start, parts: []part{{name: "first"}, {name: "second"}}}
	go func() {
		<-th.started
		cancel()
		th.end("first")
	}()
	if all := s.run(ctx); !errors.Is(all[1].err, context.Canceled) {
		t.Errorf("after an interrupt: %v", all[1].err)
	}
}

func TestWriteFailures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"lint", "live", "faults"} {
		if err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(strings.Repeat("..\n", 30)+"the end of "+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	failed := errors.New("exit status 1")
	var out strings.Builder
	writeFailures(&out, []outcome{
		{part: part{name: "lint"}, took: time.Second},
		{part: part{name: "lost"}, took: time.Second, err: failed},
		{part: part{name: "live"}, took: time.Second, err: failed},
		{part: part{name: "faults"}, err: failed}, // not run: what is there is of another run
	}, dir)
	if got := out.String(); !strings.Contains(got, "lost.log: no such file") || !strings.HasSuffix(got, "..\nthe end of live\n") || strings.Count(got, "..\n") != 19 || strings.Contains(got, "of lint") || strings.Contains(got, "of faults") {
		t.Errorf("%q, want the last 20 lines of live's log alone", got)
	}
}
