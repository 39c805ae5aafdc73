//go:build !nolab

package main

import (
	"bytes"
	"math"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/golden"
	"tracer/internal/journey"
	"tracer/internal/lab"
)

// story are moments of a demo: healthy, an overlay that becomes slow and then answers nothing for a while, and healed.
func story() (out []callMoment) {
	add := func(phase string, call, own float64, parts ...float64) {
		m := callMoment{phase: phase, end: time.Duration(len(out)+1) * 2 * time.Second, call: call, own: own}
		copy(m.parts[:], parts)
		out = append(out, m)
	}
	add("healthy", 310e-6, 330e-6, 150e-6, 60e-6, 20e-6, 20e-6, 15e-6, 10e-6, 35e-6)
	add("healthy", 300e-6, 322e-6, 150e-6, 55e-6, 20e-6, 20e-6, 15e-6, 10e-6, 30e-6)
	add("faulted", 0.61, 0.62, 150e-6, 60e-6, 0.5, 20e-6, 15e-6, 10e-6, 0.11)
	add("faulted", 1.04, 1.06, 150e-6, 60e-6, 0.95, 20e-6, 15e-6, 10e-6, 0.09)
	add("faulted", 0, 0)
	out[4].unanswered = 3
	add("faulted", 1.04, 1.05, 160e-6, 60e-6, 0.98, 20e-6, 15e-6, 10e-6, 0.06)
	add("healed", 305e-6, 325e-6, 150e-6, 55e-6, 20e-6, 20e-6, 15e-6, 10e-6, 35e-6)
	return out
}

// TestDrawnCalls draws the story as an application monitor would, with colours and without.
func TestDrawnCalls(t *testing.T) {
	t.Parallel()
	for name, color := range map[string]bool{"calls.txt": false, "calls-color.txt": true} {
		var text bytes.Buffer
		newDemoText(&text, color).calls(story())
		golden.Check(t, "testdata/"+name, text.Bytes())
	}
	var text bytes.Buffer
	newDemoText(&text, false).calls([]callMoment{{phase: "healthy"}}) // nothing was answered at all
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
			r.Client.Unanswered = 6
		}
		if server > 0 {
			r.Server.Answered.Observe(server, 20)
		}
		w.Pairs[0].Requests = r
		return w
	}
	seen := &lab.Report{TCP: lab.Delays{Count: 20, P50: 1.01}}
	near := func(got, want float64) bool { return math.Abs(got-want) < 0.06*want+1e-12 }
	m := newCallMoment("faulted", 4*time.Second, window(journey.Out, journey.Queue, 0.2, 1, 0), window(journey.In, journey.Decap, 0.05, 0, 0.1), seen)
	var sum float64
	for _, seconds := range m.parts {
		sum += seconds
	}
	if !near(m.call, 1) || !near(m.parts[partAPI], 0.1) || !near(m.parts[partQueue], 0.4) || !near(m.parts[partDecap], 0.1) || !near(m.parts[partWire], 0.4) || math.Abs(sum-m.call) > 1e-9 {
		t.Errorf("%+v: %v in all", m, sum)
	}
	if m.own != 1.01 || m.unanswered != 3 || m.phase != "faulted" || m.end != 4*time.Second {
		t.Errorf("%+v", m)
	}
	// Both nodes' stages are more than there is: they share it.
	if m = newCallMoment("", 0, window(journey.Out, journey.Queue, 0.4, 1, 0), window(journey.In, journey.Decap, 0.4, 0, 0.1), seen); m.parts[partWire] > 1e-9 ||
		!near(m.parts[partQueue]+m.parts[partDecap], 0.9) || !near(m.parts[partQueue], m.parts[partDecap]) {
		t.Errorf("%+v", m)
	}
	if m = newCallMoment("", 0, window(journey.Out, journey.Queue, 0.2, 0, 0), &aggregate.Snapshot{}, &lab.Report{}); m.call != 0 || m.own != 0 {
		t.Errorf("of nothing: %+v", m)
	}
	if m = newCallMoment("", 0, window(journey.Out, journey.Queue, 0.2, 1, 0), &aggregate.Snapshot{}, seen); m.parts[partAPI] != 0 || !near(m.parts[partWire], 0.6) {
		t.Errorf("the other node has seen nothing: %+v", m)
	}
}
