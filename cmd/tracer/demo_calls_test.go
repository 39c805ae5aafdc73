//go:build !nolab

package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tracer/internal/aggregate"
	"tracer/internal/golden"
	"tracer/internal/journey"
	"tracer/internal/lab"
)

// story are moments of a demo: healthy, an overlay that becomes slow and then answers nothing for a while, and healed.
func story() (out []callMoment) {
	add := func(phase string, call, own float64, parts ...float64) {
		m := callMoment{Phase: phase, End: float64(2*len(out) + 2), Call: call, Own: own, Parts: map[string]float64{}}
		for i, seconds := range parts {
			m.Parts[callParts()[i]] = seconds
		}
		out = append(out, m)
	}
	add("healthy", 1.31e-3, 1.36e-3, 1.15e-3, 60e-6, 20e-6, 20e-6, 15e-6, 45e-6)
	add("healthy", 1.3e-3, 1.35e-3, 1.15e-3, 55e-6, 20e-6, 20e-6, 15e-6, 40e-6)
	add("faulted", 0.61, 0.62, 1.15e-3, 60e-6, 0.5, 20e-6, 15e-6, 0.109)
	add("faulted", 1.04, 1.06, 1.15e-3, 60e-6, 0.95, 20e-6, 15e-6, 0.089)
	add("faulted", 0, 0)
	add("faulted", 1.04, 1.05, 1.16e-3, 60e-6, 0.98, 20e-6, 15e-6, 0.059)
	add("healed", 1.3e-3, 1.36e-3, 1.15e-3, 55e-6, 20e-6, 20e-6, 15e-6, 40e-6)
	return out
}

// TestSettling: the demo waits until the queue is full, and never for minutes.
func TestSettling(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]time.Duration{0.5: 2 * time.Second, 1.9: 4 * time.Second, 919: demoSettle, math.Inf(1): demoSettle} {
		if got := settling(seconds); got != want {
			t.Errorf("a queue that fills in %v s is given %v, not %v", seconds, got, want)
		}
	}
}

// TestDrawnCalls draws the story as an application monitor would, with colours and without.
func TestDrawnCalls(t *testing.T) {
	t.Parallel()
	for name, color := range map[string]bool{"calls.txt": false, "calls-color.txt": true} {
		var text bytes.Buffer
		newDemoText(&text, color).calls(story())
		golden.Check(t, "testdata/"+name, text.Bytes())
		for line := range strings.Lines(text.String()) {
			if n := utf8.RuneCountInString(line) - 1; !color && n > 80 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	}
	var text bytes.Buffer
	newDemoText(&text, false).calls([]callMoment{{Phase: "healthy"}}) // nothing was answered at all
	if bytes.Contains(text.Bytes(), []byte("NaN")) {
		t.Errorf("%s", text.Bytes())
	}
}

// TestCallMoment: a call is the server's time, what packets of both ways spend in the stages of both nodes, and the rest; and the load's
// own figure stands beside it.
func TestCallMoment(t *testing.T) {
	t.Parallel()
	window := func(direction journey.Direction, stage journey.Stage, seconds, client, server float64) *aggregate.Snapshot {
		there := aggregate.PairKey{SrcNamespace: "default", SrcWorkload: lab.Web, DstNamespace: "default", DstWorkload: lab.API, Direction: direction}
		w := &aggregate.Snapshot{Window: 2 * time.Second}
		for _, key := range []aggregate.PairKey{there, there.Reverse()} {
			p := aggregate.Pair{PairKey: key, Packets: 100, Stages: []aggregate.StageDelay{{StageKey: aggregate.StageKey{Stage: stage, Device: "tunl0", Direction: key.Direction}}}}
			p.Path.Observe(seconds, 100)
			p.Stages[0].Delay.Observe(seconds, 100)
			w.Pairs = append(w.Pairs, p)
		}
		r := &aggregate.Requests{}
		if client > 0 {
			r.Client.Answered.Observe(client, 20)
		}
		if server > 0 {
			r.Server.Answered.Observe(server, 20)
		}
		w.Pairs[0].Requests = r
		return w
	}
	seen := &lab.Report{Calls: lab.Delays{Count: 20, P50: 1.01}}
	near := func(got, want float64) bool { return math.Abs(got-want) < 0.06*want+1e-12 }
	m := newCallMoment("faulted", 4*time.Second, window(journey.Out, journey.Queue, 0.2, 1, 0), window(journey.In, journey.Decap, 0.05, 0, 0.1), seen)
	var sum float64
	for _, seconds := range m.Parts {
		sum += seconds
	}
	if !near(m.Call, 1) || !near(m.Parts[lab.API], 0.1) || !near(m.Parts["queue"], 0.4) || !near(m.Parts["decap"], 0.1) || !near(m.Parts[rest], 0.4) || math.Abs(sum-m.Call) > 1e-9 {
		t.Errorf("%+v: %v in all", m, sum)
	}
	if m.Own != 1.01 || m.Phase != "faulted" || m.End != 4 {
		t.Errorf("%+v", m)
	}
	// Both nodes' stages are more than there is: they share it.
	if m = newCallMoment("", 0, window(journey.Out, journey.Queue, 0.4, 1, 0), window(journey.In, journey.Decap, 0.4, 0, 0.1), seen); m.Parts[rest] > 1e-9 ||
		!near(m.Parts["queue"]+m.Parts["decap"], 0.9) || !near(m.Parts["queue"], m.Parts["decap"]) {
		t.Errorf("%+v", m)
	}
	if m = newCallMoment("", 0, window(journey.Out, journey.Queue, 0.2, 0, 0), &aggregate.Snapshot{}, &lab.Report{}); m.Call != 0 || m.Own != 0 {
		t.Errorf("of nothing: %+v", m)
	}
	if m = newCallMoment("", 0, window(journey.Out, journey.Queue, 0.2, 1, 0), &aggregate.Snapshot{}, seen); m.Parts[lab.API] != 0 || !near(m.Parts[rest], 0.6) {
		t.Errorf("the other node has seen nothing: %+v", m)
	}
}
