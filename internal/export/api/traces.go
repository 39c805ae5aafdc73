//go:build linux

package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/record"
	"tracer/internal/trace"
)

// A stream of traces reads the devices anew after maxDevicesAge, and for a device that it does not know after
// minDevicesAge: reading them is expensive.
const (
	maxDevicesAge = 5 * time.Second
	minDevicesAge = time.Second
)

// maxCauses bounds the drops whose meaning is kept; more than there are.
const maxCauses = 1024

// Traces yields the journeys, or the requests, that match the filter, as they end, until ctx or the source does. The filter runs where
// records are read, so that no other is copied. Records that make no path are left out; the source counts them.
func Traces(ctx context.Context, source TraceSource, names aggregate.Namer, filter trace.Filter) iter.Seq2[trace.Trace, error] {
	return func(yield func(trace.Trace, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		d := describer{source: source, names: names, filter: filter.Matcher(names)}
		if err := d.refresh(); err != nil {
			yield(trace.Trace{}, fmt.Errorf("stream journeys: %w", err))
			return
		}
		if filter.Headers {
			var err error
			if d.header, err = source.Headers(ctx, filter.SlowerThan, filter.DropsOnly); err != nil {
				yield(trace.Trace{}, fmt.Errorf("read headers of packets: %w", err))
				return
			}
			if err := d.refresh(); err != nil {
				yield(trace.Trace{}, fmt.Errorf("stream journeys: %w", err))
				return
			}
			d.since = d.read
		}
		subscribe := source.Subscribe
		if filter.Requests {
			subscribe = source.SubscribeRequests
		}
		records, missed := subscribe(ctx, d.wants)
		var before uint64 // those that a trace has told of
		for {
			select {
			case <-ctx.Done():
				return
			case rec, open := <-records:
				if !open {
					return
				}
				t, err := d.describe(&rec)
				if err != nil {
					yield(trace.Trace{}, fmt.Errorf("stream journeys: %w", err))
					return
				}
				if t == nil {
					continue
				}
				total := missed()
				t.Missed, before = total-before, total
				if !yield(*t, nil) {
					return
				}
			}
		}
	}
}

// describer chooses and describes records, by the devices as read a short time ago.
type describer struct {
	source  TraceSource
	header  func(*record.Record, int) (record.Header, bool) // nil: headers are not asked for
	since   time.Duration                                   // from when on headers are read; a journey that ended before has none
	names   aggregate.Namer
	filter  *trace.Matcher
	devices atomic.Pointer[journey.Devices] // read by wants, where records are
	zero    time.Time                       // when CLOCK_MONOTONIC was 0
	read    time.Duration                   // when the devices were read, by CLOCK_MONOTONIC
	causes  map[aggregate.DropKey][2]string // what drops mean: cause and words, of those seen so far
}

// wants also accepts a record with a device that is not known yet: describe reads the devices anew.
func (d *describer) wants(rec *record.Record) bool {
	if rec.Time < d.since {
		return false
	}
	ok, err := d.filter.Match(rec, d.devices.Load())
	return ok || errors.Is(err, journey.ErrDevice)
}

// describe returns nil for a record that makes no path or is not wanted.
func (d *describer) describe(rec *record.Record) (*trace.Trace, error) {
	if rec.Time-d.read > maxDevicesAge {
		if err := d.refresh(); err != nil {
			return nil, err
		}
	}
	t, err := trace.New(rec, d.devices.Load(), d.names, d.zero)
	if errors.Is(err, journey.ErrDevice) && rec.Time-d.read > minDevicesAge {
		// The device may have come after they were read.
		if err := d.refresh(); err != nil {
			return nil, err
		}
		t, err = trace.New(rec, d.devices.Load(), d.names, d.zero)
	}
	if err != nil {
		return nil, nil //nolint:nilerr // counted by the aggregator; there is nothing to show
	}
	if ok, err := d.filter.Match(rec, d.devices.Load()); !ok || err != nil {
		return nil, nil //nolint:nilerr // it made a path just now
	}
	if t.Drop != nil {
		d.explain(t.Drop)
	}
	if d.header != nil {
		if h, ok := d.header(rec, t.LongestIn()); ok {
			t.SetHeader(h, rec, d.devices.Load())
		}
	}
	return &t, nil
}

// explain says what a drop means.
func (d *describer) explain(drop *trace.Drop) {
	known, ok := d.causes[drop.Key()]
	if !ok {
		cause, words := diagnose.CauseOfDrop(drop.Key())
		known = [2]string{string(cause), words}
		if d.causes == nil || len(d.causes) >= maxCauses {
			d.causes = map[aggregate.DropKey][2]string{}
		}
		d.causes[drop.Key()] = known
	}
	drop.Cause, drop.Meaning = known[0], known[1]
}

func (d *describer) refresh() error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	d.read = time.Duration(ts.Nano())
	// Each time anew: the time of day may be set while we run.
	d.zero = time.Now().Add(-d.read)
	before := d.devices.Load()
	if before == nil {
		before = journey.NewDevices(nil)
	}
	d.devices.Store(before.Updated(d.source.Devices(), time.Now()))
	return nil
}
