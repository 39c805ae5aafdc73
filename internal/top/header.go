package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"tracer/internal/diagnose"
	"tracer/internal/format"
	"tracer/internal/overview"
)

// title says which tracer counted, and whether its hooks are up.
func (s *styles) title(o *overview.Overview, version string) string {
	parts := []string{s.bold.Render("tracer " + o.Node), o.Kernel}
	if !o.Started.IsZero() { // a cluster has no start
		parts = append(parts, "up "+age(o.Taken.Sub(o.Started)))
	}
	if !o.SeenUnknown {
		hooks := fmt.Sprintf("%d hooks", o.HooksUp)
		if n := len(o.HooksMissing); n > 0 {
			hooks += ", " + s.bad.Render(fmt.Sprintf("%d missing", n))
		}
		parts = append(parts, hooks)
	}
	if o.Version != version {
		parts = append(parts, s.warn.Render(fmt.Sprintf("agent %s, this is %s", o.Version, version)))
	}
	if o.SchemaVersion > overview.SchemaVersion {
		parts = append(parts, s.warn.Render("a newer format: some fields are left out"))
	}
	return strings.Join(parts, " · ")
}

// volume says how much traffic there was, and how much of it was seen.
func (s *styles) volume(o *overview.Overview) string {
	var parts []string
	if !o.VolumeUnknown {
		parts = append(parts, si(o.PacketsPerSecond)+" packets/s", si(o.BitsPerSecond)+"bit/s")
	}
	if o.PairsCounted > 0 {
		parts = append(parts, format.Counted(si(float64(o.PairsCounted)), "pair")+" in all")
	}
	switch {
	case o.SeenUnknown:
	case o.SampleRatio < 1:
		parts = append(parts, fmt.Sprintf("%.2g %% sampled", 100*o.SampleRatio))
	default:
		parts = append(parts, "every packet sampled")
	}
	if o.WatchedOneIn > 1 {
		parts = append(parts, fmt.Sprintf("requests of 1 in %d connections", o.WatchedOneIn))
	}
	switch {
	case o.MissedPerSecond > 0:
		parts = append(parts, s.bad.Render(si(o.MissedPerSecond)+" records missed/s"))
	case o.RecordsMissed > 0:
		parts = append(parts, fmt.Sprintf("%s records missed since the start", si(float64(o.RecordsMissed))))
	case !o.SeenUnknown:
		parts = append(parts, "no records missed")
	}
	if len(o.Coverage) > 0 && o.Coverage[0].Low() && o.Coverage[0].Device != "" {
		c := &o.Coverage[0] // the least comes first
		parts = append(parts, s.bad.Render(fmt.Sprintf("%.0f %% seen at %s %s", 100**c.Ratio, c.Device, c.Direction)))
	}
	return strings.Join(parts, " · ")
}

// minJudged is the shortest window, in seconds, that says that nothing is wrong: what has no answer is told after five, and TCP tries
// it at growing intervals.
const minJudged = 9

// watching tells whether it is too early for a verdict. A fault that is seen is one at once.
func watching(o *overview.Overview) bool {
	return o.VerdictWindowSeconds > 0 && o.VerdictWindowSeconds < minJudged && o.Verdict != diagnose.Fault
}

// verdict is the diagnosis in at most so many lines.
func (s *styles) verdict(o *overview.Overview, width, lines int) []string {
	word := diagnose.Heading(o.Verdict, o.Findings)
	paint := s.good
	switch {
	case o.Verdict == diagnose.Fault:
		paint = s.bad
	case o.Verdict != diagnose.Healthy || word == diagnose.WarningHeading:
		paint = s.warn
	}
	text := strings.Split(ansi.Wordwrap(word+"  "+o.Summary, width, ""), "\n")
	if len(text) > lines {
		rest := strings.Join(text[lines-1:], " ")
		text = append(text[:lines-1], ansi.Truncate(rest, width, "…"))
	}
	if after, ok := strings.CutPrefix(text[0], word); ok {
		text[0] = paint.Render(word) + after
	}
	return text
}

// header is the lines above each view.
func (m *model) header() []string {
	s, o := &m.styles, m.latest
	right := o.Taken.Local().Format("15:04:05") + " " + fmt.Sprintf("every %v", m.query.Interval)
	_, replayed := m.options.Source.(Replayed)
	switch {
	case m.streamErr != nil:
		right = s.bad.Render("STALE " + age(m.now().Sub(m.received)))
	case replayed:
		right = s.warn.Render("REPLAY " + o.Taken.Local().Format("2 Jan 15:04:05"))
	case m.paused:
		right = s.warn.Render("PAUSED " + o.Taken.Local().Format("15:04:05"))
	}
	lines := []string{ends(s.title(o, m.options.Version), right, m.width), ansi.Truncate(s.volume(o), m.width, "…")}
	if m.streamErr != nil {
		return append(lines, ansi.Truncate(s.bad.Render("trying again: "+oneLine(m.streamErr)), m.width, "…"))
	}
	room := 1
	if m.height >= 20 {
		room = 2
	}
	if watching(o) {
		return append(lines, ansi.Truncate(fmt.Sprintf("%s, %s: the verdict comes after %d s", s.warn.Render("watching"), windowText(o), minJudged), m.width, "…"))
	}
	return append(lines, s.verdict(o, m.width, room)...)
}

// tabs are the kinds of rows, and what bars mean.
func (m *model) tabs() string {
	var parts []string
	for i, kind := range overview.RowKinds() {
		text := fmt.Sprintf("%d %ss", i+1, kind)
		if kind == m.query.By {
			text = m.styles.mark.Render(" " + text + " ")
		}
		parts = append(parts, text)
	}
	left, legend := strings.Join(parts, " "), m.styles.legend(m.latest.Rows)
	if m.mode == modeDevice || m.mode == modeTable && m.query.By == overview.ByDevice {
		return left // no bars either
	}
	if ansi.StringWidth(left)+1+ansi.StringWidth(legend) > m.width {
		return left // so narrow a table has no bars
	}
	return ends(left, legend, m.width)
}

// oneLine is an error's text without line breaks.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func (m *model) now() time.Time { return m.options.Now() }
