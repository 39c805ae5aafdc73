package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/format"
	"tracer/internal/netdev"
	"tracer/internal/overview"
)

// deviceColumn is a column of the table of devices.
type deviceColumn struct {
	title string
	width int
	right bool
	rank  int // as of column
	cell  func(*styles, *overview.Device) string
}

func deviceColumns() []deviceColumn {
	return []deviceColumn{
		{"ROLE", 7, false, 3, func(_ *styles, d *overview.Device) string { return d.Role.String() }},
		{"IN/S", 5, true, 5, func(_ *styles, d *overview.Device) string { return deviceRate(d, d.RxPackets) }},
		{"OUT/S", 5, true, 4, func(_ *styles, d *overview.Device) string { return deviceRate(d, d.TxPackets) }},
		{"IN BIT", 6, true, 8, func(_ *styles, d *overview.Device) string { return deviceRate(d, d.RxBits) }},
		{"OUT BIT", 7, true, 7, func(_ *styles, d *overview.Device) string { return deviceRate(d, d.TxBits) }},
		{"POD", 20, false, 6, func(_ *styles, d *overview.Device) string { return d.Workload }},
		{"Q P50", 6, true, 9, func(_ *styles, d *overview.Device) string { return p50(d.Queue) }},
		{"Q P99", 6, true, 1, func(s *styles, d *overview.Device) string {
			if d.Queue != nil && d.WarnAbove != nil && d.Queue.P50 > *d.WarnAbove {
				return s.bad.Render(p99(d.Queue))
			}
			return p99(d.Queue)
		}},
		{"BACKLOG", 7, true, 2, func(_ *styles, d *overview.Device) string { return orBlank(float64(d.BacklogPackets)) }},
		{"DROP/S", 6, true, 2, func(s *styles, d *overview.Device) string {
			if d.RatesUnknown {
				return "-"
			}
			return s.bad.Render(orBlank(d.DropsPerSecond))
		}},
	}
}

// deviceRate writes one of a device's rates; "-" if it is not known.
func deviceRate(d *overview.Device, rate float64) string {
	if d.RatesUnknown {
		return "-"
	}
	return si(rate)
}

// devices draws the table of devices; the qdiscs have the rest of the line.
func (m *model) devices(height int) []string {
	const nameWidth, marked = 15, 2
	room := m.width - nameWidth - marked
	all := deviceColumns()
	if !slices.ContainsFunc(m.latest.Devices, func(d overview.Device) bool { return d.Workload != "" }) {
		all = slices.DeleteFunc(all, func(c deviceColumn) bool { return c.title == "POD" })
	}
	take := make([]bool, len(all))
	for rank := range len(all) + 1 {
		for i, c := range all {
			if c.rank == rank && c.width+1 <= room-10 {
				take[i] = true
				room -= c.width + 1
			}
		}
	}
	head := fit("  DEVICE", nameWidth+marked, false)
	for i, c := range all {
		if take[i] {
			head += " " + fit(c.title, c.width, c.right)
		}
	}
	lines := []string{m.styles.head.Render(fit(head+"  QDISC", m.width, false))}
	for n := m.offset; n < len(m.latest.Devices) && len(lines) < height; n++ {
		d := &m.latest.Devices[n]
		flag := "  "
		if len(d.Unusual)+len(d.Causes) > 0 {
			flag = m.styles.bad.Render("!") + " "
		}
		who := fit(d.Name, nameWidth, false)
		if n == m.cursor {
			who = m.styles.mark.Render(who)
		}
		line := flag + who
		for i, c := range all {
			if take[i] {
				line += " " + fit(c.cell(&m.styles, d), c.width, c.right)
			}
		}
		lines = append(lines, ansi.Truncate(line+"  "+d.Root.Brief(), m.width, "…"))
	}
	return lines
}

// device draws one device: its traffic, its queue, what is unusual, and its tree of qdiscs.
func (m *model) device() []string {
	s := &m.styles
	d := m.selectedDevice()
	if d == nil {
		return []string{s.faint.Render(m.deviceName + " is gone")}
	}
	state := "up"
	if !d.Up {
		state = s.bad.Render("down")
	}
	kind := d.Kind
	if kind == "" {
		kind = "hardware"
	}
	lines := []string{
		strings.TrimSuffix(fmt.Sprintf("%s  %s · %s · %s · %s", s.bold.Render(d.Name), d.Role, kind, state, d.Workload), " · "),
		fmt.Sprintf("in  %6s packets/s %6sbit/s", deviceRate(d, d.RxPackets), deviceRate(d, d.RxBits)),
		fmt.Sprintf("out %6s packets/s %6sbit/s · drops %s/s", deviceRate(d, d.TxPackets), deviceRate(d, d.TxBits), deviceRate(d, d.DropsPerSecond)),
	}
	usual := ""
	if text := usualText(d.Baseline, d.WarnAbove); text != "" {
		usual = " · usual p50 " + text
	}
	queue := "no queue"
	if d.Root.Queues() {
		queue = fmt.Sprintf("queue p50 %s p99 %s%s · backlog %s, %sB", p50(d.Queue), p99(d.Queue), usual,
			format.Counted(strconv.FormatUint(d.BacklogPackets, 10), "packet"), si(float64(d.BacklogBytes)))
	}
	lines = append(lines, queue)
	if d.InFlight > 0 {
		lines = append(lines, fmt.Sprintf("%s in flight, the oldest for %s", format.Counted(si(d.InFlight), "packet"), format.Seconds(d.OldestSeconds)))
	}
	for i := range d.Limits {
		lines = append(lines, s.limit(&d.Limits[i]))
	}
	for _, u := range d.Unusual {
		lines = append(lines, s.bad.Render("! "+u))
	}
	if d.Changed != nil {
		lines = append(lines, "qdiscs changed at "+d.Changed.Local().Format("15:04:05"))
	}
	for _, i := range m.latest.FindingsAt(d) {
		lines = append(append(lines, ""), s.findingLines(m.latest, i, findingAll, m.width)...)
	}
	lines = append(lines, "", s.head.Render(fit("QDISC", max(30, m.width-38), false)+fmt.Sprintf(" %8s %8s %8s %8s", "SENT", "DROPPED", "OVER", "BACKLOG")))
	return append(lines, m.tree(d.Root, "")...)
}

// limit says how much of a limit is used.
func (s *styles) limit(l *overview.Limit) string {
	text := fmt.Sprintf("uses %.0f %% of its limit, %sbit/s of %sbit/s by %s", 100*l.Share, si(l.Bits), si(l.LimitBits), l.What)
	if l.OverlimitsRate+l.DropsRate > 0 {
		text += fmt.Sprintf(" · overlimits %s/s, dropped %s/s", si(l.OverlimitsRate), si(l.DropsRate))
	}
	if l.Share >= 0.9 {
		return s.warn.Render(text)
	}
	return text
}

// tree draws a qdisc with those below it, one on a line.
func (m *model) tree(q netdev.Qdisc, indent string) []string {
	children := q.Children
	q.Children = nil
	counters := fmt.Sprintf(" %8s %8s %8s %8s", si(float64(q.Packets)), si(float64(q.Drops)), si(float64(q.Overlimits)), si(float64(q.BacklogPackets)))
	lines := []string{fit(indent+q.String(), max(30, m.width-38), false) + counters}
	if indent == "" {
		indent = "└ "
	} else {
		indent = "  " + indent
	}
	for _, child := range children {
		lines = append(lines, m.tree(child, indent)...)
	}
	return lines
}

// selectedDevice is the device of the closer look, nil if it is gone.
func (m *model) selectedDevice() *overview.Device {
	for i := range m.latest.Devices {
		if d := &m.latest.Devices[i]; strings.EqualFold(d.Name, m.deviceName) {
			return d
		}
	}
	return nil
}
