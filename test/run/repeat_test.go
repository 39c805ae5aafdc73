package main

import (
	"errors"
	"io"
	"testing"
	"time"

	"tracer/test/steady"
)

func TestRepeated(t *testing.T) {
	t.Parallel()
	failed := errors.New("exit status 1")
	over := func(err error) *stand {
		s := &stand{err: err, release: make(chan struct{})}
		close(s.release)
		return s
	}
	still, steadily := steady.Stall{Late: time.Second}, steady.Stall{Late: steady.MaxLate}
	for name, test := range map[string]struct {
		first, second error
		stall         steady.Stall
		reruns        int
		fails         bool
	}{
		"passes":                      {stall: still},
		"fails on a steady machine":   {first: failed, stall: steadily, fails: true},
		"fails as it stood still":     {first: failed, stall: still, reruns: 1},
		"fails as others had its CPU": {first: failed, stall: steady.Stall{Steal: 0.2}, reruns: 1},
		"hangs":                       {first: errHangs, stall: still, fails: true},
		"fails both times":            {first: failed, second: failed, stall: still, reruns: 1, fails: true},
	} {
		r := &repeated{
			running: over(test.first), ctx: t.Context(), name: name, print: io.Discard,
			stall: func() (steady.Stall, error) { return test.stall, nil },
			again: func() (running, error) { return over(test.second), nil },
		}
		if c, err := r.wait(); c.reruns != test.reruns || (err != nil) != test.fails {
			t.Errorf("%s: %d reruns, %v", name, c.reruns, err)
		}
	}
}
