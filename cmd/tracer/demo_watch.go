//go:build !nolab

package main

import (
	"context"
	"time"

	"tracer/internal/agent"
	"tracer/internal/diagnose"
	"tracer/internal/lab"
	"tracer/internal/loader"
)

// momentEvery is how long a callMoment is.
const momentEvery = 2 * time.Second

// labWatch watches a lab, by agents and by its application's own clock.
type labWatch struct {
	lab     *lab.Lab
	nodes   []*agent.Agent
	names   []string // the nodes'
	begun   time.Duration
	moments []callMoment
}

func newLabWatch(l *lab.Lab, nodes []*agent.Agent) *labWatch {
	w := &labWatch{lab: l, nodes: nodes, begun: loader.Monotonic()}
	for _, n := range l.Nodes() {
		w.names = append(w.names, n.Name)
	}
	return w
}

// labWindow is what agents and application saw in the same span of time.
type labWindow struct {
	names    []string            // the nodes'
	from, to []diagnose.Snapshot // one for each node
	seen     lab.Report
}

// report judges the first node, where the caller's packets leave.
func (w *labWindow) report() diagnose.Report {
	return diagnose.Diagnose(w.names[0], w.from[0], w.to[0])
}

// watch returns what was seen in so long a time, which is a multiple of momentEvery, and adds its moments.
func (w *labWatch) watch(ctx context.Context, phase string, duration time.Duration) (*labWindow, error) {
	begin := loader.Monotonic()
	from, err := w.takeSnapshots()
	if err != nil {
		return nil, err
	}
	window := &labWindow{names: w.names, from: from, to: from}
	for now := begin; now-begin < duration; {
		if err := sleep(ctx, momentEvery); err != nil {
			return nil, err
		}
		to, err := w.takeSnapshots()
		if err != nil {
			return nil, err
		}
		before := now
		now = loader.Monotonic()
		seen, err := w.lab.Recent(now-before, now)
		if err != nil {
			return nil, err
		}
		caller, called := to[0].Counts.Since(window.to[0].Counts), to[1].Counts.Since(window.to[1].Counts)
		w.moments = append(w.moments, newCallMoment(phase, now-w.begun, caller, called, &seen))
		window.to = to
	}
	// What was sent in the window and has arrived, or was sent long enough before that to be lost.
	now := loader.Monotonic()
	window.seen, err = w.lab.Recent(now-begin, now)
	return window, err
}

func (w *labWatch) takeSnapshots() (taken []diagnose.Snapshot, err error) {
	taken = make([]diagnose.Snapshot, len(w.nodes))
	for i, a := range w.nodes {
		if taken[i], err = a.TakeSnapshot(); err != nil {
			return nil, err
		}
	}
	return taken, nil
}
