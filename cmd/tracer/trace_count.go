package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/term"

	"tracer/internal/format"
	"tracer/internal/trace"
)

// silentAfter is after how long without a journey that matches a person is told so, and tellEvery how often on a terminal,
// where one line is written anew. Elsewhere it is told after twice as long each time.
const (
	silentAfter = 2 * time.Second
	tellEvery   = 2 * time.Second
	tellAtMost  = time.Minute
)

// traceCount tells, while no journey matches, how many packets pass; and at the end what there was.
type traceCount struct {
	filter   trace.Filter
	outcomes func(context.Context) (map[string]uint64, error)
	w        io.Writer // standard error
	terminal bool
	width    int // of the terminal
	now      func() time.Time

	mu      sync.Mutex
	began   time.Time
	matched uint64
	last    time.Time // that one matched, or when it began
	told    bool      // a line is on the terminal that is to be written over

	first, before map[string]uint64 // outcomes at the start and when they were last read
	read          time.Time         // when that was
}

// start reads how many packets there have been.
func (c *traceCount) start(ctx context.Context) {
	c.began = c.now()
	c.last, c.read = c.began, c.began
	if first, err := c.outcomes(ctx); err == nil {
		c.first, c.before = first, first
	}
}

// passedIn are the packets that have passed and those that were dropped between two times.
func passedIn(before, now map[string]uint64) (passed, dropped uint64) {
	rise := func(outcome string) uint64 { return now[outcome] - min(now[outcome], before[outcome]) }
	return rise("finished") + rise("split") + rise("unsampled"), rise("dropped")
}

// during counts while f runs.
func (c *traceCount) during(ctx context.Context, f func(context.Context) error) error {
	c.start(ctx)
	watching, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { c.watch(watching) })
	err := f(ctx)
	stop()
	group.Wait()
	if err == nil {
		c.end(ctx)
	}
	return err
}

// watch tells of silence until ctx ends.
func (c *traceCount) watch(ctx context.Context) {
	if c.first == nil {
		return // of an agent that cannot be asked
	}
	ticker := time.NewTicker(tellEvery)
	defer ticker.Stop()
	next := silentAfter // of silence until it is told, where that stays
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, err := c.outcomes(ctx)
		if err != nil {
			continue
		}
		next = c.tell(now, next)
	}
}

// tell says how many packets pass and that none of them matches, if that has lasted. It returns how long it must last to be told
// again.
func (c *traceCount) tell(now map[string]uint64, next time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.now()
	passed, dropped := passedIn(c.before, now)
	seconds := max(0.1, at.Sub(c.read).Seconds())
	c.before, c.read = now, at
	silence := at.Sub(c.last)
	switch {
	case silence < silentAfter:
		return silentAfter
	case c.terminal:
		c.erase()
		c.told = true
		fmt.Fprintf(c.w, "%.*s", max(20, c.width-1), c.silenceText(passed, dropped, seconds, silence))
	case silence >= next:
		fmt.Fprintln(c.w, c.silenceText(passed, dropped, seconds, silence))
		return min(2*next, next+tellAtMost)
	}
	return next
}

// silenceText is what is told: of how many packets none matches, and for how long.
func (c *traceCount) silenceText(passed, dropped uint64, seconds float64, silence time.Duration) string {
	text := fmt.Sprintf("%.0f packets/s pass", float64(passed)/seconds)
	if dropped > 0 {
		text += fmt.Sprintf(" and %.1f/s are dropped", float64(dropped)/seconds)
	}
	switch what := c.filter.String(); {
	case passed+dropped == 0:
		text = "no packet passes; tracer check shows what is traced"
	case what == "":
		text += ", and none has ended where it is seen"
	case c.filter == trace.Filter{DropsOnly: true}:
		text += ", and none is lost"
	default:
		text += fmt.Sprintf(", and none matches %q", what)
	}
	return fmt.Sprintf("%s (for %.0f s)", text, silence.Seconds())
}

// match counts a journey that is about to be printed.
func (c *traceCount) match() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.matched++
	c.last = c.now()
	c.erase()
}

// erase removes the line that is on the terminal.
func (c *traceCount) erase() {
	if c.told {
		fmt.Fprint(c.w, "\r\x1b[K")
		c.told = false
	}
}

// end sums up.
func (c *traceCount) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	now, err := c.outcomes(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	what := "journey"
	if c.filter.Requests {
		what = "request"
	}
	text := fmt.Sprintf("in %.1f s: %s matched", c.now().Sub(c.began).Seconds(), format.Counted(fmt.Sprint(c.matched), what))
	if err == nil && c.first != nil {
		passed, dropped := passedIn(c.first, now)
		text += fmt.Sprintf("; %s passed this node, %d dropped", format.Counted(fmt.Sprint(passed), "packet"), dropped)
	}
	fmt.Fprintln(c.w, text)
}

// terminalOf tells whether a file is a terminal, and how wide.
func terminalOf(fd uintptr) (is bool, width int) {
	width, _, err := term.GetSize(int(fd))
	return err == nil && width > 0, width
}
