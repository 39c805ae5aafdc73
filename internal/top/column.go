package top

import (
	"github.com/charmbracelet/x/ansi"

	"tracer/internal/overview"
)

// Widths. What room is left goes to the worst stage first, then to names.
const (
	nameLeast  = 22 // and a third of the screen
	nameMost   = 64
	worstLeast = 16
	worstMost  = 24
	barWidth   = 14
)

// column is one of a table by pair, service or flow.
type column struct {
	title string
	sort  string // the key to sort by
	width int
	right bool
	rank  int // those with the least are shown first where there is little room
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
		{"WORST STAGE", "worst", worstLeast, false, 2, worst},
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

// choose returns the columns that fit beside the names, in their order, and the width of these.
func choose(width int, by overview.By) (chosen []column, name int) {
	all := columns()
	least := max(nameLeast, width/3)
	if by == overview.ByFlow { // two addresses with ports
		least = max(nameLeast, width*2/5)
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
			wider := min(room, worstMost-worstLeast)
			c.width += wider
			room -= wider
		}
		if take[i] {
			chosen = append(chosen, c)
		}
	}
	return chosen, min(nameMost, least+room)
}

// name is who talks to whom, with the service in between where there is room.
func name(r *overview.Row, width int) string {
	src, dst := r.Src.String(), r.Dst.String()
	if r.Pairs > 0 {
		if r.Service != "" {
			return r.Service
		}
		return dst + " (no service)"
	}
	if r.Service != "" {
		if text := src + " → (" + r.Service + ") → " + dst; ansi.StringWidth(text) <= width {
			return text
		}
	}
	for _, as := range []func(overview.End) string{overview.End.String, withoutNamespace, byWorkload} {
		src, dst = as(r.Src), as(r.Dst)
		if ansi.StringWidth(src)+3+ansi.StringWidth(dst) <= width {
			return src + " → " + dst
		}
	}
	half := max(4, (width-3)/2)
	if ansi.StringWidth(src) > half {
		src = ansi.Truncate(src, max(half, width-3-ansi.StringWidth(dst)), "…")
	}
	return src + " → " + dst
}

func withoutNamespace(e overview.End) string {
	e.Namespace = ""
	return e.String()
}

// byWorkload is the shortest name, but for a flow with its port.
func byWorkload(e overview.End) string {
	if e.Pod != "" {
		e.Pod = e.Workload
	}
	return withoutNamespace(e)
}
