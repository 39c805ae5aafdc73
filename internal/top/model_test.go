package top

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"tracer/internal/golden"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// TestFrames keeps every view at the sizes of a small window, a usual one and a full screen.
func TestFrames(t *testing.T) {
	t.Parallel()
	for _, size := range []struct{ width, height int }{{60, 15}, {100, 30}, {200, 50}} {
		for name, keys := range map[string][]string{
			"pairs": nil, "services": {"2"}, "flows": {"3"}, "devices": {"4"}, "waterfall": {"enter"}, "device": {"4", "enter"}, "help": {"?"},
		} {
			s := newScreen(t, size.width, size.height)
			s.press(keys...)
			golden.Check(t, fmt.Sprintf("testdata/%s-%dx%d.txt", name, size.width, size.height), []byte(s.text()))
		}
	}
}

// TestColours uses the terminal's own colours and no other, and none where there are none: letters tell it then.
func TestColours(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 120, 30)
	s.send(colours(true))
	content := s.View().Content
	if !strings.Contains(content, "\x1b[33m████") || strings.Contains(content, "38;") || strings.Contains(content, "48;") {
		t.Errorf("with colours: %q", content)
	}
	s.send(colours(false))
	content = s.View().Content
	for _, rest := range strings.Split(content, "\x1b[")[1:] {
		if code, _, _ := strings.Cut(rest, "m"); code != "7" && code != "" && code != "0" {
			t.Errorf("without colours there is %q", code)
		}
	}
	s.shows("qqqqqqqqqqqqqq", "q queue")
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 160, 30)
	s.shows("FAULT", "web → (default/api)", "1 of 6")
	s.press("down", "down")
	s.shows("3 of 6")
	s.press("end")
	s.shows("6 of 6")
	s.press("g", "tab")
	if s.source.last().By != overview.ByService {
		t.Errorf("asked for %+v", s.source.last())
	}
	s.press("3")
	s.shows("web-7d9c6b5f4-x2x7k:49818", "[2001:db8::1]:443")
	s.press("1", "sss") // pain, src, dst, dir
	if q := s.source.last(); q.Sort.Key != "dir" {
		t.Errorf("sorted by %+v", q.Sort)
	}
	s.press("r")
	s.shows("DIR▲")
	s.press("S", "S", "S", "+", "+")
	if q := s.source.last(); q.Interval != 10*time.Second || q.Sort.Key != "pain" {
		t.Errorf("asked for %+v", q)
	}
	s.press("-")
	s.shows("every 5s")
	s.press("?")
	s.shows("what hurts most", "egress calic821d1e85ce: no such device")
	s.press("?")
	s.hides("what hurts most")
	if _, cmd := s.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not quit")
	}
}

func TestFilterKeys(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 100, 20)
	s.press("/", "check")
	s.shows("/check", "nightly")
	s.press("enter")
	s.shows("filter: check", "checkout")
	s.hides("nightly")
	if s.source.last().Filter.String() != "check" {
		t.Errorf("asked for %+v", s.source.last())
	}
	s.press("/", " p99>1") // what is typed goes on with what is there
	s.press("enter")
	s.shows("/check p99>1", `           ^ "1" is no time; give one with its unit, such as 10ms`)
	s.press("ms", "enter")
	s.shows(`no pair matches "check p99>1ms"`)
	s.press("esc")
	s.shows("nightly")
	s.press("/", "web", "esc")
	s.shows("nightly")
	// The rows of a service are its pairs.
	s.press("2", "enter")
	if q := s.source.last(); q.By != overview.ByPair || q.Filter.String() != "default/api" {
		t.Errorf("asked for %+v", q)
	}
}

// TestLook goes from a row to its pair, and back to the same row.
func TestLook(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 120, 50)
	s.press("enter")
	if p := s.source.last().Pair; p == nil || p.SrcWorkload != "web" || p.Direction != journey.Out {
		t.Fatalf("asked for %+v", p)
	}
	s.shows("TIME ", "in flight  35 packets in queue tunl0, the oldest for 480ms", "dropped  5/s in queue tunl0: QDISC_DROP by __dev_queue_xmit",
		"20µs", "10.244.1.2:49818", "LAST 30S")
	s.press("esc")
	if s.source.last().Pair != nil {
		t.Error("still looks")
	}
	s.press("4", "enter")
	s.shows("! root qdisc is htb, the default here is noqueue", "netem 100: delay 500ms loss 10% rate 50Kbit", "qdiscs changed at")
	s.press("esc", "3", "enter")
	if p := s.source.last().Pair; p == nil || p.DstWorkload != "api" {
		t.Errorf("a flow's pair is %+v", p)
	}
}

// TestCursorFollows keeps the cursor on its row when others overtake it.
func TestCursorFollows(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 120, 30)
	s.press("down")
	was := s.latest.Rows[s.cursor].Key()
	moved := *s.latest
	moved.Rows = append([]overview.Row{s.latest.Rows[4], s.latest.Rows[3]}, s.latest.Rows[:3]...)
	s.send(overviewMsg{s.stream.query, &moved})
	if got := s.latest.Rows[s.cursor].Key(); got != was || s.cursor != 3 {
		t.Errorf("the cursor is at %d, on %+v", s.cursor, got)
	}
	short := moved
	short.Rows = moved.Rows[:1]
	s.send(overviewMsg{s.stream.query, &short})
	if s.cursor != 0 {
		t.Errorf("the cursor is at %d of 1", s.cursor)
	}
}

// TestStale goes on with what is there when the agent stops, says how old it is, and recovers.
func TestStale(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 100, 20)
	s.send(errorMsg{s.stream.query, errBroken})
	s.clock = s.clock.Add(75 * time.Second)
	s.shows("STALE 1m15s", "has stopped", "trying again", "nightly-report")
	s.send(errorMsg{s.stream.query - 1, nil}) // of a query before
	s.send(overviewMsg{s.stream.query, story(t, "pair")})
	s.hides("STALE")
	s.shows("FAULT")

	never := newScreen(t, 100, 20)
	never.latest = nil
	never.send(errorMsg{never.stream.query, errBroken})
	never.shows("no data", "has stopped", "q quits")
}

// TestReconnect has a source that fails for a while.
func TestReconnect(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 100, 20)
	s.source.fail(errBroken)
	s.press("+") // asks anew
	s.shows("STALE")
	s.source.fail(nil)
	for end := time.Now().Add(20 * time.Second); s.streamErr != nil; {
		if time.Now().After(end) {
			t.Fatal("no new data")
		}
		s.Update(s.stream.next()())
	}
	s.hides("STALE")
}

// TestScroll reads to the end of what is longer than the screen.
func TestScroll(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 60, 15)
	s.press("4", "enter")
	s.shows("tunl0  overlay", "↓ more")
	s.press("end")
	s.shows("netem 100:")
	s.hides("↓ more", "tunl0  overlay")
	s.press("up", "home")
	s.shows("tunl0  overlay")
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 100, 20)
	s.press("space")
	s.shows("PAUSED 12:00:00")
	later := story(t, "pair")
	later.Node = "another"
	s.send(overviewMsg{s.stream.query, later})
	s.hides("another")
	s.press("space")
	s.send(overviewMsg{s.stream.query, later})
	s.shows("another")
}

func TestSizes(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 39, 20)
	s.shows("39×20 is too small", "needs 40×8")
	for width := 1; width < 220; width += 7 { // text checks that nothing is outside
		for height := 1; height < 60; height += 9 {
			s.send(tea.WindowSizeMsg{Width: width, Height: height})
			for _, keys := range []string{"1", "4", "?", "?"} {
				s.press(keys)
				s.text()
			}
		}
	}
}

// TestVersions goes on with an agent that is older or newer, and says so.
func TestVersions(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 160, 20)
	s.hides("this is")
	other := story(t, "pair")
	other.Version, other.SchemaVersion = "v2.0.0", overview.SchemaVersion+1
	other.Rows[0].Path, other.Rows[0].Worst, other.Rows[0].Stages = nil, nil, nil
	s.send(overviewMsg{s.stream.query, other})
	s.shows("agent v2.0.0, this is v1.2.3", "some fields are left out", "web")
	bare := &overview.Overview{By: overview.ByPair} // of an agent that knows nothing of this
	s.send(overviewMsg{s.stream.query, bare})
	s.text()
	s.send(overviewMsg{s.stream.query, &overview.Overview{By: overview.ByFlow}})
	s.shows("counting flows")
}

func TestOnce(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"pair", "device"} {
		var b strings.Builder
		o := story(t, by)
		if err := WriteTable(&b, o, overview.Query{By: o.By}, "v1.2.3", 160, false); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, "testdata/once-"+by+".txt", []byte(b.String()))
	}
}

// BenchmarkFrame is one new overview drawn: twice a second at most.
func BenchmarkFrame(b *testing.B) {
	s := newScreen(b, 200, 50)
	s.send(colours(true))
	for b.Loop() {
		s.receive(s.latest)
		_ = s.View()
	}
}

// replayed is a source of what is past.
type replayed struct {
	*fakeSource
	paused bool
	frame  int
}

func (r *replayed) Pause(paused bool) { r.paused = paused }
func (r *replayed) Step(frames int)   { r.frame += frames }

// TestReplayKeys stops what is replayed and goes through it, and shows a frame that was gone to although the view is paused.
func TestReplayKeys(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 120, 30)
	s.press("[", "]")
	s.hides("REPLAY", "PAUSED")
	past := &replayed{fakeSource: s.source}
	s.options.Source = past
	s.press("]", "]", "[")
	if past.frame != 1 || !past.paused || !s.paused {
		t.Errorf("at frame %d, paused %t", past.frame, past.paused)
	}
	s.shows("REPLAY ")
	later := *s.latest
	later.Taken = later.Taken.Add(time.Hour)
	s.stepped = true
	s.receive(&later)
	if s.latest != &later || s.stepped {
		t.Error("the frame that was gone to is not shown")
	}
	s.receive(new(later))
	if s.latest != &later {
		t.Error("another one is shown while the view is paused")
	}
	s.press("space")
	if past.paused {
		t.Error("it is still paused")
	}
}

// TestEmptyColumns leaves out what no row has anything in, unless rows are sorted by it.
func TestEmptyColumns(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 200, 30)
	s.shows("REQ/S", "REQ P50", "WHY LOST", "QDISC_DROP", "LOST/S")
	s.hides("SERVER P50") // of a server on another node
	s.press("3")
	s.shows("→ (10.96.0.10:80) →", "WHY LOST", "LOST/S")
	s.hides("REQ/S", "REQ P50", "SERVER P50", "HELD")
	s.query.Sort.Key = "server-p50"
	s.shows("SERVER P5▼")
}
