//go:build linux

package api

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/trace"
)

// feedLines is how many journeys wait for the slowest reader of a feed.
const feedLines = 1024

// traceFeeds are the journeys that match the filters of all streams there are, described and encoded once for each filter.
type traceFeeds struct {
	source TraceSource
	names  aggregate.Namer

	mu   sync.Mutex
	open map[trace.Filter]*traceFeed
}

// traceFeed is the journeys that match one filter. It keeps the latest; a reader that is slower misses some, and holds up
// nobody.
type traceFeed struct {
	cancel  context.CancelFunc
	readers int // under traceFeeds.mu

	mu    sync.Mutex
	more  *sync.Cond
	lines [feedLines]feedLine // the journey n is at n % feedLines
	next  uint64
	err   error // why it ended; nil if the source did
	ended bool
}

// feedLine is a journey as an object of JSON, without the number of those missed.
type feedLine struct {
	object []byte
	missed uint64 // by the feed itself, up to here
}

// feedReader is where one of a feed's readers is.
type feedReader struct {
	feed   *traceFeed
	next   uint64
	missed uint64 // as feedLine's, up to here
	lost   uint64 // of missed journeys, those that were in the feed: not told yet
}

func newTraceFeed(cancel context.CancelFunc) *traceFeed {
	f := &traceFeed{cancel: cancel}
	f.more = sync.NewCond(&f.mu)
	return f
}

// read yields lines of JSON that match the filter, as many at once as there are, until ctx or the source ends.
func (f *traceFeeds) read(ctx context.Context, filter trace.Filter) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		reader := f.enter(filter)
		feed := reader.feed
		defer f.leave(filter, feed)
		defer context.AfterFunc(ctx, func() {
			feed.mu.Lock() // so that nobody is between looking and waiting
			defer feed.mu.Unlock()
			feed.more.Broadcast()
		})()
		for {
			lines, err, open := reader.take(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if !open || !yield(lines, nil) || !reader.pause(ctx) {
				return
			}
		}
	}
}

// enter begins to read. The first reader of a feed is there before its source is asked: it misses nothing.
func (f *traceFeeds) enter(filter trace.Filter) *feedReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if feed := f.open[filter]; feed != nil && !feed.hasEnded() {
		feed.readers++
		return feed.reader()
	}
	ctx, cancel := context.WithCancel(context.Background())
	feed := newTraceFeed(cancel)
	if f.open == nil {
		f.open = map[trace.Filter]*traceFeed{}
	}
	f.open[filter] = feed
	feed.readers++
	reader := feed.reader()
	go feed.fill(Traces(ctx, f.source, f.names, filter))
	return reader
}

func (f *traceFeeds) leave(filter trace.Filter, feed *traceFeed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if feed.readers--; feed.readers == 0 {
		feed.cancel()
		if f.open[filter] == feed {
			delete(f.open, filter)
		}
	}
}

func (f *traceFeed) hasEnded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// fill takes what there is until it ends.
func (f *traceFeed) fill(traces iter.Seq2[trace.Trace, error]) {
	var missed uint64
	var failed error
	for t, err := range traces {
		if err != nil {
			failed = err
			break
		}
		missed += t.Missed
		t.Missed = 0
		object, err := json.Marshal(t)
		if err != nil {
			failed = fmt.Errorf("encode a journey: %w", err)
			break
		}
		f.mu.Lock()
		f.lines[f.next%feedLines] = feedLine{object, missed}
		f.next++
		f.mu.Unlock()
		f.more.Broadcast()
	}
	f.mu.Lock()
	f.err, f.ended = failed, true
	f.mu.Unlock()
	f.more.Broadcast()
}

// reader begins with the next journey.
func (f *traceFeed) reader() *feedReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &feedReader{feed: f, next: f.next}
	if f.next > 0 {
		r.missed = f.lines[(f.next-1)%feedLines].missed
	}
	return r
}

// maxChunk bounds what is sent at once, in bytes, so that a reader keeps no more than that beside the feed.
const maxChunk = 32 << 10

// take waits for lines, and returns false when there are no more.
func (r *feedReader) take(ctx context.Context) (lines []byte, err error, open bool) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	for r.next == f.next && !f.ended && ctx.Err() == nil {
		f.more.Wait()
	}
	if ctx.Err() != nil || r.next == f.next {
		return nil, f.err, false
	}
	if f.next-r.next > feedLines {
		r.lost += f.next - feedLines - r.next
		r.next = f.next - feedLines
	}
	for ; r.next < f.next && len(lines) < maxChunk; r.next++ {
		line := &f.lines[r.next%feedLines]
		missed := line.missed - r.missed + r.lost
		r.missed, r.lost = line.missed, 0
		lines = appendLine(lines, line.object, missed)
	}
	return lines, nil, true
}

// pace is how long a reader that has got all there is leaves its feed alone: each wake-up costs as much as many journeys.
const pace = 20 * time.Millisecond

// pause is false once ctx has ended.
func (r *feedReader) pause(ctx context.Context) bool {
	r.feed.mu.Lock()
	more := r.next < r.feed.next
	r.feed.mu.Unlock()
	if more {
		return true
	}
	end := time.NewTimer(pace)
	defer end.Stop()
	select {
	case <-end.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// appendLine adds a trace's object as a line, with its Missed.
func appendLine(to, object []byte, missed uint64) []byte {
	to = append(to, object...)
	if missed > 0 {
		to = fmt.Appendf(to[:len(to)-1], `,"missed":%d}`, missed)
	}
	return append(to, '\n')
}
