package top

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/overview"
)

// WriteTable prints an overview as the view shows it, so many columns wide.
func WriteTable(w io.Writer, o *overview.Overview, q overview.Query, version string, width int, color bool) error {
	m := model{options: Options{Version: version}, styles: newStyles(color), width: width, query: q, latest: o, cursor: -1}
	s := &m.styles
	lines := []string{s.title(o, version), s.volume(o)}
	lines = append(lines, s.verdict(o, width, 3)...)
	lines = append(lines, "")
	if q.By == overview.ByDevice {
		lines = append(lines, m.devices(len(o.Devices)+1)...)
		lines = append(lines, "", s.faint.Render(`"!": a finding is there, or something unusual · Q P50, Q P99: time in the queue`))
	} else {
		lines = append(lines, m.table(len(o.Rows)+2)...)
		if more := o.RowsTotal - len(o.Rows); more > 0 {
			lines = append(lines, s.faint.Render(fmt.Sprintf("%d more: see --limit, --filter", more)))
		}
		lines = append(lines, m.onceLegend()...)
	}
	if len(o.Nodes) > 0 {
		lines = append(append(lines, ""), s.nodes(o.Nodes, width)...)
	}
	for i := range o.Findings {
		lines = append(append(lines, ""), s.findingLines(o, i, findingWhy, width)...)
	}
	for i, line := range lines {
		if !color {
			line = ansi.Strip(line)
		}
		lines[i] = strings.TrimRight(line, " ")
	}
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// onceLegend explains what the columns that are there mean.
func (m *model) onceLegend() []string {
	o := m.latest
	if len(o.Rows) == 0 {
		return nil
	}
	var parts []string
	chosen, _ := chooseColumns(&m.styles, m.width, o.By, cmp.Or(m.query.Sort.Key, "pain"), o.Rows)
	for _, c := range chosen {
		switch c.title {
		case "TIME BY STAGE":
			parts = append(parts, m.styles.legend(o.Rows))
		case "WORST STAGE":
			parts = append(parts, `"!": slower than its threshold, or no answer`)
		case "HELD":
			parts = append(parts, "HELD: packets in flight")
		}
	}
	return append([]string{""}, strings.Split(ansi.Wordwrap(m.styles.faint.Render(strings.Join(parts, " · ")), m.width, ""), "\n")...)
}
