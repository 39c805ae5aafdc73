package trace

import (
	"strings"
	"testing"
	"time"

	"tracer/internal/golden"
	"tracer/internal/record"
	"tracer/internal/trace/tracetest"
)

// TestText draws what a person sees of a packet that came through and of one that was lost.
func TestText(t *testing.T) {
	t.Parallel()
	lost := traceOf(t, tracetest.Request(record.Dropped))
	lost.Missed = 3
	var b strings.Builder
	for _, trace := range []Trace{traceOf(t, tracetest.Request(record.Finished)), lost, traceOf(t, tracetest.Request(record.InFlight))} {
		trace.Time = time.Date(2026, 5, 1, 13, 0, 0, 1000, time.Local)
		if err := trace.WriteText(&b, false); err != nil {
			t.Fatal(err)
		}
	}
	golden.Check(t, "testdata/trace.txt", []byte(b.String()))
}

// TestDropText has what a drop means beside a reason that does not tell.
func TestDropText(t *testing.T) {
	t.Parallel()
	d := Drop{Stage: "forward", Device: "cali1", Reason: "NOT_SPECIFIED", Location: "ip_error", Loss: true}
	for want, meaning := range map[string][2]string{
		"dropped in forward at cali1: NOT_SPECIFIED, by ip_error":                                          {},
		"dropped in forward at cali1: NOT_SPECIFIED, by ip_error = no-route: a missing or blackhole route": {"no-route", "a missing or blackhole route"},
		"dropped in forward at cali1: NOT_SPECIFIED, by ip_error: mtu or ttl":                              {"", "mtu or ttl"},
	} {
		if d.Cause, d.Meaning = meaning[0], meaning[1]; d.String() != want {
			t.Errorf("%q, want %q", d.String(), want)
		}
	}
}
