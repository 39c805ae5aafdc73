package top

import (
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"tracer/internal/aggregate"
	"tracer/internal/overview"
)

// intervals are those to choose from.
var intervals = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// veryFar is beyond the end of any table or text.
const veryFar = 1 << 30

// scrollBy moves the cursor in a table, and the text elsewhere.
func (m *model) scrollBy(rows int) {
	if m.mode == modeTable {
		m.move(rows)
	} else {
		m.scrollBody(rows)
	}
}

// key does what a key is for.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	switch name := k.String(); name {
	case "q", "ctrl+c":
		return tea.Quit
	case "?", "h", "f1":
		if m.mode == modeHelp {
			m.mode = m.modeBeforeHelp
		} else {
			m.mode, m.modeBeforeHelp, m.bodyOffset = modeHelp, m.mode, 0
		}
	case "esc", "backspace", "left":
		return m.back()
	case "1", "2", "3", "4":
		return m.showRows(overview.RowKinds()[name[0]-'1'])
	case "tab", "shift+tab":
		kinds := overview.RowKinds()
		step := 1
		if name != "tab" {
			step = len(kinds) - 1
		}
		return m.showRows(kinds[(slices.Index(kinds, m.query.By)+step)%len(kinds)])
	case "up", "k":
		m.scrollBy(-1)
	case "down", "j":
		m.scrollBy(1)
	case "pgup", "ctrl+b":
		m.scrollBy(-m.page())
	case "pgdown", "ctrl+f":
		m.scrollBy(m.page())
	case "home", "g":
		m.scrollBy(-veryFar)
	case "end", "G":
		m.scrollBy(veryFar)
	case "space", " ":
		m.paused = !m.paused
		if r, ok := m.options.Source.(Replayed); ok {
			r.Pause(m.paused)
		}
		if !m.paused {
			return m.stream.open(m.query)
		}
	case "[":
		return m.step(-1)
	case "]":
		return m.step(1)
	case "s", ">":
		return m.sortBy(1)
	case "S", "<":
		return m.sortBy(-1)
	case "r":
		m.query.Sort.Reverse = !m.query.Sort.Reverse
		return m.resort()
	case "+", "=":
		return m.changeInterval(1)
	case "-":
		return m.changeInterval(-1)
	case "/":
		if m.mode == modeTable && m.query.By != overview.ByDevice {
			m.typing, m.filterErr = true, nil
			m.input.SetValue(m.query.Filter.String())
			m.input.CursorEnd()
			m.input.SetWidth(max(10, m.width/2))
			return m.input.Focus()
		}
	case "enter", "right":
		return m.openRow()
	case "v":
		return m.openFinding()
	}
	return nil
}

// step shows the frame before or after, of a source that is replayed.
func (m *model) step(frames int) tea.Cmd {
	r, ok := m.options.Source.(Replayed)
	if !ok {
		return nil
	}
	m.paused, m.stepped = true, true
	r.Pause(true)
	r.Step(frames)
	return m.stream.open(m.query)
}

// typeKey edits the filter. An error in it is shown as it is typed.
func (m *model) typeKey(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc":
		m.typing = false
		return nil
	case "ctrl+c":
		return tea.Quit
	case "enter":
		filter, err := overview.ParseFilter(m.input.Value())
		if err != nil {
			m.filterErr = err
			return nil
		}
		m.typing = false
		m.query.Filter = filter
		m.cursor, m.selected = 0, ""
		if m.latest != nil { // at once, on the rows that are there
			kept := *m.latest
			kept.Rows = filter.Apply(slices.Clone(kept.Rows))
			kept.RowsTotal = len(kept.Rows)
			m.latest = &kept
		}
		m.scroll()
		return m.stream.open(m.query)
	}
	var cmd tea.Cmd
	m.input, cmd = m.input.Update(k)
	_, m.filterErr = overview.ParseFilter(m.input.Value())
	return cmd
}

// back leaves help or a detail, or else removes the filter.
func (m *model) back() tea.Cmd {
	switch {
	case m.mode == modeHelp:
		m.mode = m.modeBeforeHelp
	case m.mode == modeDetail:
		m.mode, m.query.Pair = modeTable, nil
		return m.stream.open(m.query)
	case m.mode == modeDevice:
		m.mode = modeTable
	case m.query.Filter.String() != "":
		m.query.Filter = overview.Filter{}
		return m.stream.open(m.query)
	}
	return nil
}

// showRows changes to rows of another kind.
func (m *model) showRows(by overview.By) tea.Cmd {
	m.mode, m.query.Pair, m.query.By = modeTable, nil, by
	m.cursor, m.offset, m.selected = 0, 0, ""
	if m.latest != nil && m.latest.By != by {
		turned := *m.latest
		turned.By, turned.Rows, turned.RowsTotal = by, nil, 0
		m.latest = &turned
	}
	return m.stream.open(m.query)
}

// openRow shows in detail what the cursor is on.
func (m *model) openRow() tea.Cmd {
	if m.mode != modeTable || m.cursor >= m.count() {
		return nil
	}
	m.finding = -1
	if m.query.By == overview.ByDevice {
		m.mode, m.bodyOffset, m.deviceName = modeDevice, 0, m.latest.Devices[m.cursor].Name
		return nil
	}
	r := &m.latest.Rows[m.cursor]
	if m.query.By == overview.ByService { // its pairs
		want := r.ServiceName()
		if want == "" {
			want = "dst=" + r.Dst.Workload
		}
		if filter, err := overview.ParseFilter(want); err == nil {
			m.query.Filter = filter
		}
		return m.showRows(overview.ByPair)
	}
	return m.openPair(r.Key())
}

// openFinding goes from the verdict to the device or the pair that it names, and from there to those of the next finding.
func (m *model) openFinding() tea.Cmd {
	if m.latest == nil || len(m.latest.Findings) == 0 || m.mode == modeHelp {
		return nil
	}
	m.finding = m.nextFinding()
	device, pair := m.placeOf(m.finding)
	switch {
	case pair != nil:
		return m.openPair(*pair)
	case device == "":
		return nil // the list below the rows tells all
	}
	m.mode, m.bodyOffset, m.deviceName = modeDevice, 0, device
	if m.query.Pair != nil {
		m.query.Pair = nil
		return m.stream.open(m.query)
	}
	return nil
}

// openPair shows a pair in detail.
func (m *model) openPair(pair aggregate.PairKey) tea.Cmd {
	m.mode, m.bodyOffset, m.query.Pair = modeDetail, 0, &pair
	return m.stream.open(m.query)
}

// sortBy sorts by the next column, or the one before.
func (m *model) sortBy(step int) tea.Cmd {
	keys := overview.SortKeys()
	at := max(0, slices.Index(keys, m.query.Sort.Key))
	m.query.Sort = overview.Sort{Key: keys[(at+step+len(keys))%len(keys)]}
	return m.resort()
}

// resort sorts the rows that are there, and asks for those of the new order.
func (m *model) resort() tea.Cmd {
	if m.latest != nil && m.latest.Rows != nil {
		sorted := *m.latest
		sorted.Rows = m.query.Sort.Rows(sorted.Rows, 0)
		m.latest = &sorted
		m.keepSelection()
	}
	return m.stream.open(m.query)
}

// changeInterval takes the next longer interval, or the next shorter one.
func (m *model) changeInterval(step int) tea.Cmd {
	at, found := slices.BinarySearch(intervals, m.query.Interval)
	if !found && step > 0 {
		at-- // the next longer one is here
	}
	m.query.Interval = intervals[max(0, min(at+step, len(intervals)-1))]
	return m.stream.open(m.query)
}
