package export

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// A stream of traces goes by the same devices for devicesKept, and at least for devicesHeld: reading them is dear.
const (
	devicesKept = 5 * time.Second
	devicesHeld = time.Second
)

// Follow yields the journeys that the filter takes, as they end, until ctx or the source does. Records that make no
// path are left out; the source counts them.
func Follow(ctx context.Context, source TraceSource, names aggregate.Namer, filter TraceFilter) iter.Seq2[Trace, error] {
	return func(yield func(Trace, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		records, lost := source.Subscribe(ctx, filter.wants)
		d := describer{source: source, names: names}
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
					yield(Trace{}, fmt.Errorf("follow journeys: %w", err))
					return
				}
				if t == nil || !filter.Match(t) {
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

// describer describes records by the devices of about now.
type describer struct {
	source  TraceSource
	names   aggregate.Namer
	devices *journey.Devices
	zero    time.Time
	read    time.Duration // CLOCK_MONOTONIC
}

// describe returns nil for a record that makes no path.
func (d *describer) describe(rec *record.Record) (*Trace, error) {
	if d.devices == nil || rec.Time-d.read > devicesKept {
		if err := d.refresh(); err != nil {
			return nil, err
		}
	}
	t, err := NewTrace(rec, d.devices, d.names, d.zero)
	if errors.Is(err, journey.ErrDevice) && rec.Time-d.read > devicesHeld {
		// The device may be newer than what we know.
		if err := d.refresh(); err != nil {
			return nil, err
		}
		t, err = NewTrace(rec, d.devices, d.names, d.zero)
	}
	if err != nil {
		return nil, nil //nolint:nilerr // counted by the aggregator; there is nothing to show
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
	d.devices = journey.NewDevices(d.source.Devices())
	return nil
}
