package export

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
	"tracer/internal/trace"
)

// A stream of traces goes by the same devices for devicesKept, and at least for devicesHeld: reading them is dear.
const (
	devicesKept = 5 * time.Second
	devicesHeld = time.Second
)

// Follow yields the journeys that the filter takes, as they end, until ctx or the source does. The filter runs where
// records are read, so that no other is copied. Records that make no path are left out; the source counts them.
func Follow(ctx context.Context, source TraceSource, names aggregate.Namer, filter trace.Filter) iter.Seq2[trace.Trace, error] {
	return func(yield func(trace.Trace, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		d := describer{source: source, names: names, filter: filter.Matcher(names)}
		if err := d.refresh(); err != nil {
			yield(trace.Trace{}, fmt.Errorf("follow journeys: %w", err))
			return
		}
		records, lost := source.Subscribe(ctx, d.wants)
		var missed uint64
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
					yield(trace.Trace{}, fmt.Errorf("follow journeys: %w", err))
					return
				}
				if t == nil {
					continue
				}
				total := lost()
				t.Missed, missed = total-missed, total
				if !yield(*t, nil) {
					return
				}
			}
		}
	}
}

// describer chooses and describes records by the devices of about now.
type describer struct {
	source  TraceSource
	names   aggregate.Namer
	filter  *trace.Matcher
	devices atomic.Pointer[journey.Devices] // read by wants, where records are
	zero    time.Time
	read    time.Duration // CLOCK_MONOTONIC
}

// wants leaves to describe what comes from a device that is newer than those known.
func (d *describer) wants(rec *record.Record) bool {
	ok, err := d.filter.Match(rec, d.devices.Load())
	return ok || errors.Is(err, journey.ErrDevice)
}

// describe returns nil for a record that makes no path or is not wanted.
func (d *describer) describe(rec *record.Record) (*trace.Trace, error) {
	if rec.Time-d.read > devicesKept {
		if err := d.refresh(); err != nil {
			return nil, err
		}
	}
	t, err := trace.New(rec, d.devices.Load(), d.names, d.zero)
	if errors.Is(err, journey.ErrDevice) && rec.Time-d.read > devicesHeld {
		// The device may be newer than what we know.
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
	return &t, nil
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
