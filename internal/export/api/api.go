// Package api is the unix socket that gives what was traced in full: its requests and the types of their answers. NewServer
// serves it to root, on Linux; Client asks, from wherever kubectl runs. Traces makes the stream for either, from an agent or from a command that traces by itself.
package api

import (
	"context"
	"iter"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/pairpath"
	"tracer/internal/record"
)

// Source is where all that is served comes from. Its methods may be called by many goroutines at once.
type Source interface {
	TraceSource
	Snapshot() *aggregate.Snapshot
	Status() Status
	// Diagnose judges the last window of time.
	Diagnose(ctx context.Context, window time.Duration) (diagnose.Report, error)
	ActiveFindings() ActiveFindings
	// Path watches the packets between two ends for the query's window.
	Path(ctx context.Context, query pairpath.Query) (pairpath.Half, error)
	// Overviews yields one at once and then one for each of the query's intervals, until ctx ends. An error is the last
	// that it yields.
	Overviews(ctx context.Context, query overview.Query) iter.Seq2[*overview.Overview, error]
}

// TraceSource is what a stream of traces is made of.
type TraceSource interface {
	// Devices are those traced, with their qdiscs' counters as of now.
	Devices() []netdev.Device
	// Subscribe sends the records that want accepts, until ctx ends; then the channel is closed. want runs where
	// records are read: it must be quick. A receiver that is too slow misses records, which missed counts; it never
	// holds up the source.
	Subscribe(ctx context.Context, want func(*record.Record) bool) (records <-chan record.Record, missed func() uint64)
	// SubscribeRequests sends records of requests, likewise.
	SubscribeRequests(ctx context.Context, want func(*record.Record) bool) (records <-chan record.Record, missed func() uint64)
	// Headers begins to read the headers of packets, until ctx ends: of those dropped and, unless dropsOnly, of those that
	// are slower than that when they leave a queue or a device. find returns those of a record's packet as it was at a
	// device, or else where they were read last; false if there are none.
	Headers(ctx context.Context, slowerThan time.Duration, dropsOnly bool) (find func(r *record.Record, ifindex int) (record.Header, bool), err error)
}
