package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tracer/internal/trace"
)

// counted is a traceCount whose clock and outcomes a test sets.
type counted struct {
	traceCount
	clock time.Time
	seen  map[string]uint64
	out   strings.Builder
}

func newCounted(t *testing.T, filter trace.Filter, terminal bool) *counted {
	t.Helper()
	c := &counted{clock: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), seen: map[string]uint64{"finished": 1000, "dropped": 5}}
	c.traceCount = traceCount{filter: filter, terminal: terminal, width: 120, w: &c.out, now: func() time.Time { return c.clock }}
	c.outcomes = func(context.Context) (map[string]uint64, error) {
		copied := map[string]uint64{}
		for k, v := range c.seen {
			copied[k] = v
		}
		return copied, nil
	}
	c.start(t.Context())
	return c
}

// pass lets time pass in which there are so many packets, and has it told.
func (c *counted) pass(seconds, finished, unsampled, dropped uint64, next time.Duration) time.Duration {
	c.clock = c.clock.Add(time.Duration(seconds) * time.Second)
	c.seen["finished"] += finished
	c.seen["unsampled"] += unsampled
	c.seen["dropped"] += dropped
	now, _ := c.outcomes(context.Background())
	return c.tell(now, next)
}

func (c *counted) printed() string {
	text := c.out.String()
	c.out.Reset()
	return text
}

// TestTraceSilence tells how many packets pass of which none matches, at growing intervals where each line stays.
func TestTraceSilence(t *testing.T) {
	t.Parallel()
	c := newCounted(t, trace.Filter{Pod: "default/wbe"}, false)
	next := c.pass(2, 200, 62, 3, silentAfter)
	if got := c.printed(); got != "131 packets/s pass and 1.5/s are dropped, and none matches \"pod=default/wbe\" (for 2 s)\n" || next != 2*silentAfter {
		t.Errorf("%q, next after %v", got, next)
	}
	for range 4 { // 4, 6, 8, 10 s
		next = c.pass(2, 200, 0, 0, next)
	}
	if got := strings.Count(c.printed(), "100 packets/s pass"); got != 2 || next != 16*time.Second {
		t.Errorf("told %d times, next after %v", got, next)
	}
	c.match()
	if next = c.pass(1, 100, 0, 0, next); c.printed() != "" || next != silentAfter {
		t.Errorf("told of silence after a match, next after %v", next)
	}
	c.clock = c.clock.Add(time.Second)
	c.end(t.Context())
	if got := c.printed(); got != "in 12.0 s: 1 journey matched; 1162 packets passed this node, 3 dropped\n" {
		t.Errorf("at the end: %q", got)
	}
}

// TestTraceSilenceOnTerminal keeps one line, and removes it before a journey.
func TestTraceSilenceOnTerminal(t *testing.T) {
	t.Parallel()
	c := newCounted(t, trace.Filter{DropsOnly: true}, true)
	c.pass(2, 10, 0, 0, silentAfter)
	c.pass(2, 20, 0, 0, silentAfter)
	if got := c.printed(); got != "5 packets/s pass, and none is lost (for 2 s)\r\x1b[K10 packets/s pass, and none is lost (for 4 s)" {
		t.Errorf("%q", got)
	}
	c.match()
	if got := c.printed(); got != "\r\x1b[K" {
		t.Errorf("before a journey: %q", got)
	}
	nothing := newCounted(t, trace.Filter{}, true)
	nothing.pass(2, 0, 0, 0, silentAfter)
	if got := nothing.printed(); !strings.Contains(got, "no packet passes; tracer check shows what is traced") {
		t.Errorf("%q", got)
	}
}

// TestTraceCountWithoutAnswer sums up what it knows where the agent does not say how many packets there were.
func TestTraceCountWithoutAnswer(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := traceCount{w: &out, now: time.Now, outcomes: func(context.Context) (map[string]uint64, error) { return nil, errors.New("gone") }}
	err := c.during(t.Context(), func(context.Context) error {
		c.match()
		return nil
	})
	if err != nil || !strings.HasSuffix(out.String(), ": 1 journey matched\n") {
		t.Errorf("%q, %v", out.String(), err)
	}
}
