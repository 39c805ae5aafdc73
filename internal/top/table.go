package top

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/overview"
)

// titles are the table's head. The column that rows are sorted by has an arrow.
func (s *styles) titles(chosen []column, nameWidth int, by overview.By, sort overview.Sort) string {
	arrow := "▼"
	if sort.Reverse {
		arrow = "▲"
	}
	key := sort.Key
	if key == "" {
		key = "pain"
	}
	first := "SOURCE → DESTINATION"
	if by == overview.ByService {
		first = "SERVICE"
	}
	if key == "src" || key == "dst" {
		first = strings.ToUpper(key) + arrow + " " + first
	}
	var b strings.Builder
	b.WriteString(fit(first, nameWidth, false))
	for _, c := range chosen {
		title := c.title
		if c.sort == key {
			title = ansi.Truncate(title, c.width-1, "") + arrow
		}
		b.WriteString(" " + fit(title, c.width, c.right))
	}
	return s.head.Render(b.String())
}

// row is one line of the table. Under the cursor only the name is marked, so that the other columns keep their colours.
func (s *styles) row(r *overview.Row, chosen []column, nameWidth int, marked bool) string {
	var b strings.Builder
	who := fit(rowName(r, nameWidth), nameWidth, false)
	if marked {
		who = s.mark.Render(who)
	}
	b.WriteString(who)
	for _, c := range chosen {
		b.WriteString(" " + fit(c.cell(s, r), c.width, c.right))
	}
	return b.String()
}

// table draws the rows from offset on in so many lines, its head included; the row at cursor is marked.
func (m *model) table(height int) []string {
	o := m.latest
	chosen, nameWidth := chooseColumns(&m.styles, m.width, o.By, cmp.Or(m.query.Sort.Key, "pain"), o.Rows)
	lines := []string{m.styles.titles(chosen, nameWidth, o.By, m.query.Sort)}
	for i := m.offset; i < len(o.Rows) && len(lines) < height; i++ {
		lines = append(lines, m.styles.row(&o.Rows[i], chosen, nameWidth, i == m.cursor))
	}
	if len(o.Rows) == 0 && len(lines) < height {
		lines = append(lines, m.styles.faint.Render(noRows(o, m.query.Filter.String())))
	}
	return lines
}

// noRows says why there are none.
func noRows(o *overview.Overview, filter string) string {
	switch {
	case watching(o) && o.WindowSeconds < 0.1:
		return "waiting for the first packets"
	case o.Rows == nil:
		return fmt.Sprintf("counting %ss: they show after the next window", o.By)
	case filter != "":
		return fmt.Sprintf("no %s matches %q", o.By, filter)
	}
	return "no traffic of pods in this window; tracer check shows what is traced"
}
