//go:build !nolab

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tracer/internal/aggregate"
	"tracer/internal/format"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/overview"
)

// rest is the part of a call that no other has: what is between the nodes, and what is in no stage.
const rest = "rest"

// callParts are what a call is divided into, in the order in which the parts are stacked: the server's own time, and the network's.
func callParts() []string {
	return []string{lab.API, string(journey.Forward), string(journey.Queue), string(journey.Encap), string(journey.Decap), rest}
}

// callMoment is where the time of web's calls of api went in a span of time. The parts of a call add up to all of it.
type callMoment struct {
	Phase string             `json:"phase"`                   // healthy, faulted, healed
	End   float64            `json:"end_seconds"`             // of the span, since the demo has begun to watch
	Call  float64            `json:"p50_seconds"`             // a whole call, as it passes its pods' devices; 0 if none was answered
	Parts map[string]float64 `json:"parts_seconds"`           // of Call
	Own   float64            `json:"application_p50_seconds"` // a call by web's own clock; 0 if none was answered
}

// newCallMoment is made of what was counted in a span on the caller's node and on that of who is called. Stages of both nodes and both ways
// are taken together.
func newCallMoment(phase string, end time.Duration, caller, called *aggregate.Snapshot, seen *lab.Report) callMoment {
	m := callMoment{Phase: phase, End: end.Seconds(), Own: seen.Calls.P50, Parts: map[string]float64{}}
	both := calls(caller)
	if both.Requests == nil || both.Requests.Client == nil {
		return m
	}
	if there := calls(called); there.Requests != nil {
		both.Requests.Server = there.Requests.Server
		both.Requests.Here += there.Requests.Here
		both.Stages = slices.Concat(both.Stages, there.Stages)
	}
	d := both.Divided()
	m.Call = *d.Client
	if d.Server != nil {
		m.Parts[lab.API] = *d.Server
	}
	for _, s := range d.Stages {
		part := string(s.Stage)
		if !slices.Contains(callParts(), part) {
			part = rest
		}
		m.Parts[part] += s.Seconds
	}
	m.Parts[rest] += *d.Other + *d.Rest
	return m
}

// calls are those of web in a window, without any if it made none.
func calls(window *aggregate.Snapshot) overview.RequestPoint {
	for key, p := range overview.RequestPoints(window) {
		if key.SrcWorkload == lab.Web && key.DstWorkload == lab.API {
			return p
		}
	}
	return overview.RequestPoint{}
}

// calls draws moments as bars over time, each divided among its parts, on one scale, and below the figures of each phase's median moment, all
// within 80 columns.
func (t *demoText) calls(moments []callMoment) {
	const width = 36
	var legend []string
	for _, part := range callParts() {
		legend = append(legend, t.block(part, 1)+" "+part)
	}
	longest := slices.MaxFunc(moments, byCall).Call
	end := format.Seconds(longest)
	t.line("")
	t.line("     %s", strings.Join(legend, "  "))
	t.line("")
	t.line("%s", t.style(styleDim, fmt.Sprintf("     %-8s %5s %9s %12s  0 %s %s", "", "AT", "CALL", "WEB'S CLOCK", strings.Repeat("─", width-3-utf8.RuneCountInString(end)), end)))
	for i := range moments {
		m := &moments[i]
		row := fmt.Sprintf("     %-8s %4.0fs %9s %12s  %s", m.Phase, m.End, orDash(m.Call), orDash(m.Own), t.stackedBar(m, longest, width))
		t.line("%s", strings.TrimRight(row, " "))
	}
	head := fmt.Sprintf("     %-8s", "MEDIAN")
	for _, part := range callParts() {
		head += fmt.Sprintf(" %9s", strings.ToUpper(part))
	}
	t.line("")
	t.line("%s", t.style(styleDim, head))
	for _, m := range medianMoments(moments) {
		row := fmt.Sprintf("     %-8s", m.Phase)
		for _, part := range callParts() {
			row += fmt.Sprintf(" %9s", orDash(m.Parts[part]))
		}
		t.line("%s", row)
	}
}

// stackedBar is as long as a call takes of the longest, a column at least.
func (t *demoText) stackedBar(m *callMoment, longest float64, width int) string {
	if m.Call <= 0 {
		return ""
	}
	var bar strings.Builder
	var sum float64
	drawn := 0
	most := lab.API
	for _, part := range callParts() {
		sum += m.Parts[part]
		upTo := int(sum/longest*float64(width) + 0.5)
		bar.WriteString(t.block(part, upTo-drawn))
		drawn = upTo
		if m.Parts[part] > m.Parts[most] {
			most = part
		}
	}
	if drawn > 0 {
		return bar.String()
	}
	return t.block(most, 1)
}

// block is so many columns of a part: in its colour, or in its first letter.
func (t *demoText) block(part string, columns int) string {
	switch {
	case columns <= 0:
		return ""
	case !t.color:
		return strings.Repeat(part[:1], columns)
	case part == lab.API:
		return t.style("37", strings.Repeat("█", columns))
	case part == rest:
		return t.style("90", strings.Repeat("█", columns))
	}
	return t.style(fmt.Sprint(30+format.StageColor(journey.Stage(part))), strings.Repeat("█", columns))
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
	for left := moments; len(left) > 0; {
		end := slices.IndexFunc(left, func(m callMoment) bool { return m.Phase != left[0].Phase })
		if end < 0 {
			end = len(left)
		}
		phase := slices.DeleteFunc(slices.Clone(left[:end]), func(m callMoment) bool { return m.Call <= 0 })
		slices.SortStableFunc(phase, byCall)
		if len(phase) > 0 {
			out = append(out, phase[(len(phase)-1)/2])
		}
		left = left[end:]
	}
	return out
}

func byCall(x, y callMoment) int { return cmp.Compare(x.Call, y.Call) }
