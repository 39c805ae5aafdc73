package top

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/format"
	"tracer/internal/journey"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// hooks are those that a stage is between.
func hooks(p overview.Place) string {
	switch p.Stage {
	case journey.PodQueue:
		return "in the pod → ingress"
	case journey.Forward:
		return "ingress → egress " + p.Device
	case journey.Queue:
		return "egress → driver"
	case journey.Encap:
		return "driver → egress below"
	case journey.Decap:
		return "ingress below → ingress"
	case journey.Deliver:
		return "driver → socket"
	}
	return ""
}

// detail draws one pair: the waterfall of its stages, their last minutes, packets in flight, drops, and its slowest journeys.
func (m *model) detail() []string {
	s, d := &m.styles, m.latest.Detail
	if d == nil || m.query.Pair == nil || d.Row.Key() != *m.query.Pair {
		return []string{s.faint.Render("waiting for the pair's figures …")}
	}
	r := &d.Row
	lines := []string{
		s.bold.Render(rowName(r, m.width-8)) + " " + string(r.Direction),
		fmt.Sprintf("on this node p50 %s p99 %s · %s packets/s · %sbit/s · %s drops/s %s", p50(r.Path), p99(r.Path),
			si(r.PacketsPerSecond), si(r.BitsPerSecond), si(r.Drops.PerSecond), r.Drops.Reason),
		"",
	}
	if n := r.NoAnswer; n != nil {
		before := "never answered since tracing began"
		if n.Before {
			before = "answered before"
		}
		lines = append(lines[:2], s.bad.Render("no answer")+fmt.Sprintf("  from %s (%s) for %s, %s sent; %s", n.Destination, n.Protocol,
			age(time.Duration(n.Seconds*float64(time.Second))), format.Counted(strconv.FormatUint(n.Packets, 10), "packet"), before), "")
	}
	lines = append(lines, m.waterfall(r, d.History)...)
	lines = append(lines, m.requests(d)...)
	for _, h := range d.InFlight {
		lines = append(lines, s.bad.Render("in flight")+fmt.Sprintf("  %s in %s, the oldest for %s", format.Counted(si(h.Packets), "packet"),
			s.stage(h.Stage, h.String()), format.Seconds(h.Oldest)))
	}
	for _, x := range d.Drops {
		lines = append(lines, s.bad.Render("dropped")+fmt.Sprintf("  %s/s in %s: %s by %s", si(x.PerSecond),
			s.stage(x.Stage, x.String()), x.Reason, x.Location))
	}
	for n, i := range m.latest.FindingsOf(r) {
		if n == 0 && len(d.InFlight)+len(d.Drops) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, s.findingLines(m.latest, i, findingAll, m.width)...)
	}
	if len(d.Slowest) > 0 {
		lines = append(lines, "", s.head.Render("SLOWEST JOURNEYS OF THIS WINDOW"))
	}
	for i := range d.Slowest {
		lines = append(lines, m.journeyLine(&d.Slowest[i]))
	}
	return lines
}

// waterfall draws each stage at its place on the path, by its share of the time.
func (m *model) waterfall(r *overview.Row, history []overview.Trend) []string {
	s := &m.styles
	var total float64
	for i := range r.Stages {
		total += r.Stages[i].Share
	}
	left, barWidth, tail := m.waterfallColumns()
	title, withTrend := "HOOKS", len(history) > 0
	if withTrend {
		title = "LAST " + strings.ToUpper(age(time.Duration(history[0].EverySeconds*float64(len(history[0].P50)))*time.Second))
	}
	lines := []string{s.head.Render(fit(fmt.Sprintf("%-9s%-16s%7s %7s %7s  %s", "STAGE", "DEVICE", "P50", "P99", "USUAL",
		fit("TIME", barWidth, false)), left+barWidth+1, false) + " " + fit(title, max(0, tail), false))}
	var passed float64
	for i := range r.Stages {
		st := &r.Stages[i]
		usual := cmp.Or(usualText(st.Baseline, st.WarnAbove), "-")
		numbers := fmt.Sprintf("%7s %7s", p50(st.Delay), p99(st.Delay))
		if st.Slow {
			numbers = s.bad.Render(numbers)
		}
		drawn := strings.ReplaceAll(format.Bar(passed, st.Share, total, barWidth), "█", s.block(st.Stage))
		indent := len(drawn) - len(strings.TrimLeft(drawn, " "))
		drawn = drawn[:indent] + s.stage(st.Stage, drawn[indent:])
		passed += st.Share
		line := s.stage(st.Stage, fit(string(st.Stage), 9, false)) + fit(st.Device, 15, false) + " " + numbers +
			fmt.Sprintf(" %7s  ", usual) + fit(drawn, barWidth, false)
		rest := hooks(st.Place)
		for _, t := range history {
			if t.Place == st.Place {
				rest = format.Spark(t.P50, tail)
			}
		}
		lines = append(lines, ansi.Truncate(line+" "+rest, m.width, ""))
	}
	if len(r.Stages) == 0 {
		lines = append(lines, s.faint.Render("no packet of this pair in this window"))
	}
	return append(lines, "")
}

// waterfallColumns are how wide the names and figures of a waterfall are, its bars, and the trends behind them, which have no room if that is 0.
func (m *model) waterfallColumns() (left, bars, tail int) {
	left = 9 + 16 + 3*8 // stage, device, p50, p99, usual
	bars = max(6, (m.width-left-2)/2)
	tail = m.width - left - bars - 2
	if tail < 10 {
		bars, tail = max(6, m.width-left-2), 0
	}
	return left, bars, tail
}

// journeyLine is one journey in a line: when, how long, in which stage most of the time, and which flow.
func (m *model) journeyLine(t *trace.Trace) string {
	worst := trace.Stage{}
	for _, st := range t.Stages {
		if st.Seconds >= worst.Seconds {
			worst = st
		}
	}
	return ansi.Truncate(fmt.Sprintf("%s %7s  %s  %s %s → %s", t.Time.Local().Format("15:04:05.000"), format.Seconds(t.TotalSeconds),
		m.styles.stage(worst.Stage, fit(fmt.Sprintf("%s %s %s", format.Seconds(worst.Seconds), worst.Stage, worst.Device), 28, false)),
		t.First.Protocol, t.First.Source, t.First.Destination), m.width, "…")
}
