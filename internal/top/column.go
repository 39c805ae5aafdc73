package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/overview"
)

// Widths in columns of the terminal.
const (
	minNameWidth  = 22 // and a third of the screen
	minWorstWidth = 12
	barWidth      = 14
	// Of columns up to this rank none gives way to names that are cut, or is left out because nothing is in it.
	rankBeforeNames = 5
)

// column is one of the table by pair, service or flow.
type column struct {
	title string
	sort  string // the key to sort by
	width int
	right bool
	rank  int // where there is little room, those of the lowest rank are shown
	cell  func(*styles, *overview.Row) string
}

func columns() []column {
	return []column{
		{"DIR", "dir", 5, false, 8, func(_ *styles, r *overview.Row) string { return string(r.Direction) }},
		{nodesTitle, "", 0, false, 4, nodesOf},
		{"PKT/S", "pps", 5, true, 5, func(_ *styles, r *overview.Row) string { return si(r.PacketsPerSecond) }},
		{"BIT/S", "bps", 5, true, 7, func(_ *styles, r *overview.Row) string { return si(r.BitsPerSecond) }},
		{"P50", "p50", 6, true, 3, func(_ *styles, r *overview.Row) string { return p50(r.Path) }},
		{"P99", "p99", 6, true, 1, func(_ *styles, r *overview.Row) string { return p99(r.Path) }},
		{"TIME BY STAGE", "pain", barWidth, false, 6, func(s *styles, r *overview.Row) string { return s.bar(r.Stages, barWidth) }},
		{"WORST STAGE", "worst", minWorstWidth, false, 2, worst},
		{"HELD", "held", 5, true, 10, func(_ *styles, r *overview.Row) string { return orBlank(r.InFlight) }},
		{"LOST/S", "drops", 6, true, 4, func(s *styles, r *overview.Row) string {
			if r.Drops.Packets == 0 {
				return ""
			}
			return s.bad.Render(si(r.Drops.PerSecond))
		}},
		{"RTT", "rtt", 6, true, 9, func(_ *styles, r *overview.Row) string { return rtt(r.TCP) }},
		{"RESENT/S", "resent", 8, true, 11, func(_ *styles, r *overview.Row) string {
			if r.TCP == nil || r.TCP.Retransmits == 0 {
				return ""
			}
			return si(r.TCP.PerSecond)
		}},
		{"REQ/S", "requests", 5, true, 12, func(_ *styles, r *overview.Row) string {
			if r.Requests == nil {
				return ""
			}
			return orBlank(r.Requests.PerSecond)
		}},
		{"REQ P50", "request-p50", 7, true, 13, func(_ *styles, r *overview.Row) string {
			if r.Requests == nil {
				return ""
			}
			return p50(r.Requests.Client)
		}},
		{"SERVER P50", "server-p50", 10, true, 14, func(_ *styles, r *overview.Row) string {
			if r.Requests == nil {
				return ""
			}
			return p50(r.Requests.Server)
		}},
		{"WHY LOST", "", 16, false, 15, func(_ *styles, r *overview.Row) string { return r.Drops.Reason }},
	}
}

// nodesTitle is the column of a cluster's rows.
const (
	nodesTitle    = "NODES"
	maxNodesWidth = 32
)

// nodesOf are the nodes that saw a row's packets; "" of a node's own row.
func nodesOf(_ *styles, r *overview.Row) string {
	if n := len(r.Nodes); n > 3 {
		return fmt.Sprintf("%s, %s +%d", r.Nodes[0], r.Nodes[1], n-2)
	}
	return strings.Join(r.Nodes, ", ")
}

// worst is what is wrong with the row: that it gets no answer, or the stage that takes most of its time if that is slow; ""
// where nothing is.
func worst(s *styles, r *overview.Row) string {
	if n := r.NoAnswer; n != nil {
		return s.bad.Render("!no answer " + age(time.Duration(n.Seconds*float64(time.Second))))
	}
	if r.Worst == nil {
		return ""
	}
	for i := range r.Stages {
		if st := &r.Stages[i]; st.Place == *r.Worst && st.Slow {
			return s.bad.Render("!") + s.stage(r.Worst.Stage, r.Worst.String())
		}
	}
	return ""
}

func orBlank(v float64) string {
	if v == 0 {
		return ""
	}
	return si(v)
}

// empty tells whether none of the rows has anything in the column.
func (c *column) empty(s *styles, rows []overview.Row) bool {
	return !slices.ContainsFunc(rows, func(r overview.Row) bool { return strings.Trim(c.cell(s, &r), "-") != "" })
}

// widest is the width of the longest cell.
func (c *column) widest(s *styles, rows []overview.Row) (width int) {
	for i := range rows {
		width = max(width, ansi.StringWidth(c.cell(s, &rows[i])))
	}
	return width
}

// chooseColumns returns the columns that fit beside the names, in their order, and the width of the names: the important ones
// first, then names as long as they are, then those of the others that have something, and the one that rows are sorted by.
func chooseColumns(s *styles, width int, by overview.By, sort string, rows []overview.Row) (chosen []column, name int) {
	all := columns()
	short, long := nameWidths(rows)
	name = max(minNameWidth, min(width/3, short))
	if by == overview.ByFlow { // two addresses with ports
		name = max(minNameWidth, min(width*2/5, short))
	}
	for i := range all {
		if all[i].title == nodesTitle {
			all[i].width = min(maxNodesWidth, all[i].widest(s, rows))
		}
		if all[i].title == "WORST STAGE" { // as wide as what is in it
			all[i].width = max(minWorstWidth, all[i].widest(s, rows))
		}
		if all[i].title == "WHY LOST" {
			all[i].width = min(all[i].width, max(len(all[i].title), all[i].widest(s, rows)))
		}
	}
	for i := range all {
		if all[i].rank > rankBeforeNames && all[i].sort != sort && all[i].empty(s, rows) {
			all[i].width = 0
		}
	}
	room := width - name
	take := make([]bool, len(all))
	for rank := range len(all) + 1 {
		for i, c := range all {
			if c.rank == rank && c.width > 0 && c.width+1 <= room {
				take[i] = true
				room -= c.width + 1
			}
		}
		if rank == rankBeforeNames {
			wider := min(room, max(0, short-name))
			name, room = name+wider, room-wider
		}
	}
	for i, c := range all {
		if take[i] {
			chosen = append(chosen, c)
		}
	}
	return chosen, name + min(room, max(0, long-name))
}

// nameWidths are those of the longest name of a row, without and with its Service. They change by steps, so that columns stay
// where they are as rows come and go.
func nameWidths(rows []overview.Row) (short, long int) {
	const step = 8
	for i := range rows {
		r := &rows[i]
		without := *r
		if r.Pairs == 0 {
			without.Service, without.EndpointOf = "", ""
		}
		short = max(short, ansi.StringWidth(rowName(&without, veryFar)))
		long = max(long, ansi.StringWidth(rowName(r, veryFar)))
	}
	up := func(n int) int { return (n + step - 1) / step * step }
	return up(short), up(long)
}
