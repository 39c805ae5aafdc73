package agent

import (
	"testing"
	"time"

	"tracer/internal/diagnose"
)

// TestFlowWindow: a window of flows begins where somebody asked before, neither a moment ago nor long ago.
func TestFlowWindow(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	var w flowWindow
	check := func(now, want float64) { // want < 0: none
		t.Helper()
		s := w.begin(at(now))
		if s == nil != (want < 0) || s != nil && !s.Taken.Equal(at(want)) {
			t.Errorf("at %v s it begins at %+v, want %v s", now, s, want)
		}
	}
	check(0, -1)
	w.add(diagnose.Snapshot{Taken: at(0)})
	check(0.5, -1)
	check(1, 0)
	w.add(diagnose.Snapshot{Taken: at(2)}) // a stream of short intervals
	check(3, 0)
	w.add(diagnose.Snapshot{Taken: at(10)})
	check(10.5, -1)
	check(20, 10)
	check(31, -1)
	w.forget(at(29))
	if w.from == nil {
		t.Error("it is forgotten while a window may begin there")
	}
	if w.forget(at(31)); w.from != nil {
		t.Error("it is never forgotten")
	}
}
