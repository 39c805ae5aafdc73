package top

import (
	"strings"

	"tracer/internal/overview"
)

// keepSelection puts the cursor onto the selected row, wherever it is now.
func (m *model) keepSelection() {
	n := m.count()
	if m.selected != "" {
		for i := range n {
			if m.rowKey(i) == m.selected {
				m.cursor = i
				break
			}
		}
	}
	m.move(0)
}

// count is how many rows the table has.
func (m *model) count() int {
	switch {
	case m.latest == nil:
		return 0
	case m.query.By == overview.ByDevice:
		return len(m.latest.Devices)
	}
	return len(m.latest.Rows)
}

// rowKey tells a row from others.
func (m *model) rowKey(i int) string {
	if m.query.By == overview.ByDevice {
		return m.latest.Devices[i].Name
	}
	r := &m.latest.Rows[i]
	return strings.Join([]string{r.Src.String(), r.Dst.String(), r.ServiceName(), r.Protocol, string(r.Direction)}, "|")
}

// move moves the cursor and keeps it within the rows.
func (m *model) move(by int) {
	n := m.count()
	m.cursor = max(0, min(m.cursor+by, n-1))
	if by != 0 && n > 0 {
		m.selected = m.rowKey(m.cursor)
		if m.cursor == 0 {
			m.selected = ""
		}
	}
	m.scroll()
}

// scroll keeps the cursor on the screen.
func (m *model) scroll() {
	page := m.page()
	if m.cursor < m.offset {
		m.offset = m.cursor
	}
	if m.cursor >= m.offset+page {
		m.offset = m.cursor - page + 1
	}
	m.offset = max(0, min(m.offset, m.count()-page))
}

// scrollBody goes up or down in what is longer than the screen.
func (m *model) scrollBody(by int) {
	if m.latest != nil {
		m.bodyOffset = max(0, min(m.bodyOffset+by, len(m.body())-m.page()-1)) // without a table there is no head
	}
}
