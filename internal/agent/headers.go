package agent

import (
	"context"
	"time"

	"tracer/internal/record"
)

// Headers begins to read the headers of packets, until ctx or the agent ends: of those dropped and, unless dropsOnly, of those
// that are slower than that when they leave a queue or a device. find returns those of a record's packet as it was at a device, or
// else where they were read last; false if there are none. It is for one goroutine. Nothing is read for it while nobody asks.
func (a *Agent) Headers(ctx context.Context, slowerThan time.Duration, dropsOnly bool) (find func(r *record.Record, ifindex int) (record.Header, bool), err error) {
	capture, err := a.loader.Capture(slowerThan, dropsOnly)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { a.failures.capture.Done(capture.Close()) })
	return func(r *record.Record, ifindex int) (record.Header, bool) { return capture.Find(ctx, r, ifindex) }, nil
}
