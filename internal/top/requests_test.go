package top

import (
	"strings"
	"testing"

	"tracer/internal/overview"
)

// TestRequestBars has the bars add up to what the client saw, whatever the medians of two sides are.
func TestRequestBars(t *testing.T) {
	t.Parallel()
	m := model{styles: newStyles(false), width: 100}
	for _, test := range []struct {
		name                 string
		client, server, here float64
		bars                 int
	}{
		{"as they should be", 0.3, 0.2, 0.05, 3},
		{"a server that takes longer than the whole", 0.3, 0.31, 0, 3},
		{"the server alone", 0, 0.2, 0.05, 1},
		{"the client alone", 0.3, 0, 0.05, 2},
	} {
		r := &overview.Requests{Here: test.here}
		if test.client > 0 {
			r.Client = &overview.Delay{P50: test.client}
		}
		if test.server > 0 {
			r.Server = &overview.Delay{P50: test.server}
		}
		lines := m.requests(&overview.Detail{Row: overview.Row{Requests: r}})
		bars, blocks := 0, 0
		for _, line := range lines {
			if n := strings.Count(line, "█"); n > 0 {
				bars, blocks = bars+1, blocks+n
			}
		}
		width := (m.width - 9 - 16 - 8 - 2) / 2
		if bars != test.bars || blocks < width || blocks > width+2 { // each has one at least
			t.Errorf("%s: %d bars of %d blocks, want %d of %d\n%s", test.name, bars, blocks, test.bars, width, strings.Join(lines, "\n"))
		}
	}
}

// TestRequestSparks has the last minutes of requests begin when those of the waterfall do, though requests are kept for longer.
func TestRequestSparks(t *testing.T) {
	t.Parallel()
	m := model{styles: newStyles(false), width: 120}
	second := func(n int) (points []*float64) {
		for range n {
			points = append(points, new(1.0))
		}
		return points
	}
	r := &overview.Requests{Server: &overview.Delay{P50: 1}}
	for _, test := range []struct{ waterfall, requests, drawn int }{{3, 9, 3}, {9, 3, 3}, {0, 4, 4}} {
		d := &overview.Detail{Row: overview.Row{Requests: r}, Requests: &overview.RequestTrend{Server: second(test.requests)}}
		if test.waterfall > 0 {
			d.History = []overview.Trend{{P50: second(test.waterfall)}}
		}
		lines := strings.Join(m.requests(d), "\n")
		_, _, tail := m.waterfallColumns()
		line := []rune(strings.Split(lines, "\n")[1])
		if got := strings.Count(string(line[m.width-tail:]), "█"); got != test.drawn {
			t.Errorf("%+v: %d points\n%s", test, got, lines)
		}
	}
}
