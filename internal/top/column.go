package top

import (
	"tracer/internal/overview"
)

// Widths in columns of the terminal. The room that is left goes to the worst stage first, then to names.
const (
	minNameWidth  = 22 // and a third of the screen
	maxNameWidth  = 64
	minWorstWidth = 16
	maxWorstWidth = 24
	barWidth      = 14
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
		{"WHY LOST", "", 16, false, 12, func(_ *styles, r *overview.Row) string { return r.Drops.Reason }},
	}
}

func worst(s *styles, r *overview.Row) string {
	if r.Worst == nil {
		return ""
	}
	text := s.stage(r.Worst.Stage, r.Worst.String())
	for i := range r.Stages {
		if st := &r.Stages[i]; st.Place == *r.Worst && st.Slow {
			return s.bad.Render("!") + text
		}
	}
	return " " + text
}

func orBlank(v float64) string {
	if v == 0 {
		return ""
	}
	return si(v)
}

// chooseColumns returns the columns that fit beside the names, in their order, and the width of the names.
func chooseColumns(width int, by overview.By) (chosen []column, name int) {
	all := columns()
	least := max(minNameWidth, width/3)
	if by == overview.ByFlow { // two addresses with ports
		least = max(minNameWidth, width*2/5)
	}
	room := width - least
	take := make([]bool, len(all))
	for rank := range len(all) + 1 {
		for i, c := range all {
			if c.rank == rank && c.width+1 <= room {
				take[i] = true
				room -= c.width + 1
			}
		}
	}
	for i, c := range all {
		if c.title == "WORST STAGE" && take[i] {
			wider := min(room, maxWorstWidth-minWorstWidth)
			c.width += wider
			room -= wider
		}
		if take[i] {
			chosen = append(chosen, c)
		}
	}
	return chosen, min(maxNameWidth, least+room)
}
