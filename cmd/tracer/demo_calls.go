//go:build !nolab

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/format"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/overview"
)

// The parts of a call, in the order in which they are stacked.
const (
	partAPI = iota // the server's own time
	partForward
	partQueue
	partEncap
	partDecap
	partDeliver
	partWire // what is left
	callParts
)

// callMoment is where the time of web's calls of api went in a span of time.
type callMoment struct {
	phase      string        // healthy, faulted, healed
	end        time.Duration // of the span, since the demo has begun to watch
	call       float64       // p50 of a whole call, in seconds; 0 if none was answered
	parts      [callParts]float64
	unanswered float64 // of a second
	own        float64 // what call is by the application's own clock; 0 if it has none
}

// newCallMoment is made of what was counted in a span on the caller's node and on that of who is called. Stages of both nodes and both ways
// are taken together.
func newCallMoment(phase string, end time.Duration, caller, called *aggregate.Snapshot, seen *lab.Report) callMoment {
	m := callMoment{phase: phase, end: end, own: seen.TCP.P50}
	here, there := calls(caller), calls(called)
	if here == nil {
		return m
	}
	m.unanswered = *here.Unanswered[0]
	if here.Client[0] == nil {
		return m
	}
	m.call = *here.Client[0]
	stages := here.Stages
	if there != nil {
		if there.Server[0] != nil {
			m.parts[partAPI] = min(m.call, *there.Server[0])
		}
		stages = slices.Concat(stages, there.Stages)
	}
	var sum float64
	for _, s := range stages {
		m.parts[partOf(s.Stage)] += *s.P50[0]
		sum += *s.P50[0]
	}
	left := m.call - m.parts[partAPI]
	if sum > left { // the medians of two nodes need not agree
		for i := partForward; i < partWire; i++ {
			m.parts[i] *= left / sum
		}
		sum = left
	}
	m.parts[partWire] = left - sum
	return m
}

// calls are those of web in a window; nil if it made none.
func calls(window *aggregate.Snapshot) *overview.RequestTrend {
	for key, p := range overview.RequestPoints(window) {
		if key.SrcWorkload == lab.Web && key.DstWorkload == lab.API {
			return overview.NewRequestTrend(window.Window.Seconds(), []*overview.RequestPoint{&p})
		}
	}
	return nil
}

// partOf is the part that a stage belongs to.
func partOf(s journey.Stage) int {
	switch s {
	case journey.Forward:
		return partForward
	case journey.Queue:
		return partQueue
	case journey.Encap:
		return partEncap
	case journey.Decap:
		return partDecap
	case journey.Deliver:
		return partDeliver
	}
	return partWire
}

// drawnPart is how a part is named and drawn.
type drawnPart struct {
	name   string
	letter string // in the place of a colour, as in tracer top
	style  string
}

func drawnParts() [callParts]drawnPart {
	stage := func(s journey.Stage, letter string) drawnPart {
		return drawnPart{string(s), letter, fmt.Sprint(30 + format.StageColor(s))}
	}
	return [callParts]drawnPart{
		partAPI: {lab.API, "a", "37"}, partForward: stage(journey.Forward, "f"), partQueue: stage(journey.Queue, "q"), partEncap: stage(journey.Encap, "e"),
		partDecap: stage(journey.Decap, "d"), partDeliver: stage(journey.Deliver, "v"), partWire: {"wire", "w", "90"},
	}
}

// calls draws moments as bars over time, each divided among its parts, on one scale, and below where the time goes in the median moment of
// each phase.
func (t *demoText) calls(moments []callMoment) {
	const width = 40
	parts := drawnParts()
	legend := make([]string, len(parts))
	for i, p := range parts {
		legend[i] = t.block(p, 1) + " " + p.name
	}
	longest := slices.MaxFunc(moments, func(x, y callMoment) int { return cmp.Compare(x.call, y.call) }).call
	t.line("")
	t.line("     %s", strings.Join(legend, "  "))
	t.line("")
	t.line("%s", t.style(styleDim, fmt.Sprintf("     %-8s %5s %9s %12s  0 %s %s", "", "AT", "CALL", "WEB'S CLOCK", strings.Repeat("─", width-10), format.Seconds(longest))))
	for i := range moments {
		m := &moments[i]
		bar := t.stackedBar(m, parts, longest, width)
		if m.unanswered > 0 {
			bar = strings.TrimLeft(bar+t.style(styleBad, fmt.Sprintf(" %.2g/s unanswered", m.unanswered)), " ")
		}
		t.line("%s", strings.TrimRight(fmt.Sprintf("     %-8s %5s %9s %12s  %s", m.phase, m.end.Round(time.Second), orDash(m.call), orDash(m.own), bar), " "))
	}
	head := fmt.Sprintf("     %-8s", "")
	for _, p := range parts {
		head += fmt.Sprintf(" %9s", strings.ToUpper(p.name))
	}
	t.line("")
	t.line("%s", t.style(styleDim, head))
	for _, m := range medianMoments(moments) {
		row := fmt.Sprintf("     %-8s", m.phase)
		for _, seconds := range m.parts {
			row += fmt.Sprintf(" %9s", orDash(seconds))
		}
		t.line("%s", row)
	}
}

// stackedBar is as long as a call takes of the longest, a column at least.
func (t *demoText) stackedBar(m *callMoment, parts [callParts]drawnPart, longest float64, width int) string {
	if m.call <= 0 {
		return ""
	}
	var bar strings.Builder
	var sum float64
	drawn := 0
	for i, seconds := range m.parts {
		sum += seconds
		upTo := int(sum/longest*float64(width) + 0.5)
		bar.WriteString(t.block(parts[i], upTo-drawn))
		drawn = upTo
	}
	if drawn > 0 {
		return bar.String()
	}
	most := 0
	for i, seconds := range m.parts {
		if seconds > m.parts[most] {
			most = i
		}
	}
	return t.block(parts[most], 1)
}

// block is so many columns of a part.
func (t *demoText) block(p drawnPart, columns int) string {
	switch {
	case columns <= 0:
		return ""
	case t.color:
		return t.style(p.style, strings.Repeat("█", columns))
	}
	return strings.Repeat(p.letter, columns)
}

// orDash is a time, or a dash for none.
func orDash(seconds float64) string {
	if seconds <= 0 {
		return "-"
	}
	return format.Seconds(seconds)
}

// medianMoments are of each phase the moment with the median call, among those that have any.
func medianMoments(moments []callMoment) (out []callMoment) {
	for rest := moments; len(rest) > 0; {
		end := slices.IndexFunc(rest, func(m callMoment) bool { return m.phase != rest[0].phase })
		if end < 0 {
			end = len(rest)
		}
		phase := slices.DeleteFunc(slices.Clone(rest[:end]), func(m callMoment) bool { return m.call <= 0 })
		slices.SortStableFunc(phase, func(x, y callMoment) int { return cmp.Compare(x.call, y.call) })
		if len(phase) > 0 {
			out = append(out, phase[len(phase)/2])
		}
		rest = rest[end:]
	}
	return out
}
