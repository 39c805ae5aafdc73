package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/format"
	"tracer/internal/overview"
)

// requests draws where the time of a pair's requests goes: at the server, on this node, and the rest, which is the network's and the other
// node's, and the server's where that is not on this node. Behind each stand its last minutes, below those of the waterfall.
func (m *model) requests(d *overview.Detail) []string {
	r, history := d.Row.Requests, d.Requests
	if r == nil {
		return nil
	}
	s := &m.styles
	const left = 9 + 16 + 8 // as the waterfall's, with one time
	width := max(6, (m.width-left-2)/2)
	head := s.head.Render(fmt.Sprintf("REQUESTS  %s/s", si(r.PerSecond)))
	if r.Unanswered > 0 {
		head += s.bad.Render(fmt.Sprintf(" · %s unanswered", si(float64(r.Unanswered))))
	}
	if r.Client != nil {
		head += s.head.Render(fmt.Sprintf(" · %s (p50)", p50(r.Client)))
	}
	if r.Connect != nil {
		head += s.head.Render(fmt.Sprintf(" · %s to open a connection", p50(r.Connect)))
	}
	lines := []string{ansi.Truncate(head, m.width, "")}
	rest, client := r.Rest()
	var total, passed float64
	switch {
	case client:
		total = r.Client.P50
	case r.Server != nil:
		total = r.Server.P50
	}
	if history == nil {
		history = &overview.RequestTrend{}
	}
	points := 0
	if len(d.History) > 0 {
		points = len(d.History[0].P50)
	}
	_, _, tail := m.waterfallColumns()
	line := func(what, where string, seconds float64, trend []*float64) {
		long := min(seconds, total-passed) // the medians of two sides need not agree
		text := fmt.Sprintf("%-9s%-16s%7s  %s", what, where, format.Seconds(seconds), format.Bar(passed, long, total, width))
		passed += long
		if tail > 0 {
			if points > 0 { // the same time as the waterfall's
				trend = slices.Concat(make([]*float64, max(0, points-len(trend))), trend)
				trend = trend[len(trend)-points:]
			}
			text = fit(text, m.width-tail, false) + format.Spark(trend, tail)
		}
		lines = append(lines, ansi.Truncate(strings.TrimRight(text, " "), m.width, ""))
	}
	if r.Server != nil {
		line("server", "the pod's own", r.Server.P50, history.Server)
	}
	if client {
		line("here", "both ways", r.Here, history.Here())
		where := "network, server"
		if r.Server != nil {
			where = "network"
		}
		line("the rest", where, rest, history.Rest)
	}
	return append(lines, "")
}
