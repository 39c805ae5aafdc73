package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tracer/internal/export/exporttest"
	"tracer/internal/record"
	"tracer/internal/trace"
	"tracer/internal/trace/tracetest"
)

func TestTraces(t *testing.T) {
	t.Parallel()
	source := newSource()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
		broken := tracetest.Request(record.Finished)
		broken.Hops[0].Ifindex = 99
		source.publish(broken) // makes no path
		source.publish(tracetest.Request(record.Finished))
	}()
	var got []trace.Trace
	for one, err := range Traces(ctx, source, tracetest.Cluster(), trace.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, one)
		switch len(got) {
		case 1:
			for range 10 { // 4 fit
				source.publish(tracetest.Request(record.Dropped))
			}
		case 3:
			source.end()
		}
	}
	if d := got[1].Drop; d == nil || d.Cause != "qdisc-drop" || d.Meaning == "" {
		t.Errorf("a drop is explained by %+v", d)
	}
	// What had been sent when the source ended still comes.
	if len(got) != 5 || got[1].Missed != 6 || got[2].Missed != 0 {
		t.Errorf("%d traces: %+v", len(got), got)
	}
}

func TestTracesNewDevice(t *testing.T) {
	t.Parallel()
	source := newSource()
	late := source.devices[0]
	late.Index, late.Name = 50, "cali9"
	go func() {
		exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
		source.publish(tracetest.Request(record.Finished))
	}()
	var last trace.Trace
	n := 0
	for one, err := range Traces(t.Context(), source, tracetest.Cluster(), trace.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		last = one
		if n++; n == 2 {
			break
		}
		source.set(func(s *fakeSource) { s.devices = append(s.devices[:len(s.devices):len(s.devices)], late) })
		rec := tracetest.Request(record.Finished)
		rec.Hops[0].Ifindex = late.Index
		rec.Time += 1 << 50 // after the devices were read
		source.publish(rec)
	}
	if last.Hooks[0].Device != "cali9" {
		t.Errorf("hooks %+v", last.Hooks)
	}
}

// TestTracesHeaders has the headers of packets beside their journeys, where somebody asks for them and they were read.
func TestTracesHeaders(t *testing.T) {
	t.Parallel()
	source := newSource()
	go func() {
		exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
		early := tracetest.Request(record.Dropped)
		early.Time = 1 // before headers were read, however short a time ago this machine was booted
		source.publish(early)
		for _, kind := range []record.Kind{record.Finished, record.Dropped} {
			rec := tracetest.Request(kind)
			rec.Time += 1 << 50
			source.publish(rec)
		}
		source.end()
	}()
	var got []trace.Trace
	for one, err := range Traces(t.Context(), source, tracetest.Cluster(), trace.Filter{SlowerThan: time.Millisecond, OrLost: true, Headers: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, one)
	}
	if len(got) != 2 || got[0].Header != nil || got[1].Header == nil {
		t.Fatalf("%+v", got)
	}
	if h := got[1].Header; h.Hook != "free" || h.Device != "tunl0" || h.Length != 1000 || len(h.Bytes) != 1 || h.At != 1<<50+25_000 {
		t.Errorf("%+v", h)
	}
	if len(source.headers) != 1 || source.headers[0] != "1ms false" {
		t.Errorf("headers were asked for as %q", source.headers)
	}
	source.failing = errors.New("not permitted")
	for _, err := range Traces(t.Context(), source, tracetest.Cluster(), trace.Filter{Headers: true}) {
		if err == nil || !strings.Contains(err.Error(), "read headers of packets: not permitted") {
			t.Errorf("%v", err)
		}
	}
}

// TestTracesOfRequests has requests where they are asked for, and nowhere else.
func TestTracesOfRequests(t *testing.T) {
	t.Parallel()
	for _, requests := range []bool{false, true} {
		source := newSource()
		go func() {
			exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
			source.publish(tracetest.Request(record.Finished))
			source.publish(tracetest.Asked(true, record.Answered))
			source.end()
		}()
		var got []trace.Trace
		for one, err := range Traces(t.Context(), source, tracetest.Cluster(), trace.Filter{Requests: requests, Pod: "web"}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, one)
		}
		if len(got) != 1 || (got[0].Request != nil) != requests {
			t.Errorf("requests %v: %+v", requests, got)
		}
	}
}
