package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tracer/internal/export/exporttest"
	"tracer/internal/overview"
	"tracer/internal/record"
	"tracer/internal/trace"
	"tracer/internal/trace/tracetest"
)

func TestStreamsPlaces(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := &streams{kind: "traces", max: 2, now: func() time.Time { return now }}
	first, firstCtx, err := s.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, secondCtx, err := s.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first.sending()
	now = now.Add(stalledAfter - 1)
	second.sending()
	if _, _, err := s.enter(t.Context()); err == nil || !strings.Contains(err.Error(), "all 2 streams of traces") {
		t.Errorf("a third: %v", err)
	}
	now = now.Add(1)
	third, _, err := s.enter(t.Context())
	if err != nil || firstCtx.Err() == nil || secondCtx.Err() != nil {
		t.Errorf("a third, in place of one that does not read: %v, ended: %v and %v", err, firstCtx.Err(), secondCtx.Err())
	}
	now = now.Add(time.Hour)
	second.sent()
	if _, _, err := s.enter(t.Context()); err == nil {
		t.Error("one that reads again lost its place")
	}
	first.leave() // again
	if n := len(s.open); n != 2 {
		t.Errorf("%d places are taken", n)
	}
	second.leave()
	third.leave()
	if n := len(s.open); n != 0 {
		t.Errorf("%d places are taken at the end", n)
	}
}

func TestStreamsRefused(t *testing.T) {
	t.Parallel()
	source := newSource()
	client := agent(t, source)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range maxTraceStreams {
		body, err := client.get(ctx, pathTrace, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
	for _, err := range client.Traces(ctx, trace.Filter{}) {
		if err == nil || !strings.Contains(err.Error(), "all 16 streams of traces that an agent serves at once are being read") {
			t.Errorf("one more: %v", err)
		}
	}
	query := overview.Query{By: overview.ByPair, Interval: overview.MaxInterval}
	for range maxOverviewStreams {
		body, err := client.get(ctx, pathOverview, query.Values())
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
	response, err := client.http.Get("http://agent" + pathOverview)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "all 8 streams of overviews") {
		t.Errorf("%s %v %s", response.Status, response.Header, text)
	}
	if _, err := client.Status(ctx); err != nil {
		t.Errorf("meanwhile: %v", err)
	}
	cancel()
	exporttest.WaitFor(t, "a place", func() bool {
		body, err := client.get(t.Context(), pathTrace, nil)
		if err == nil {
			body.Close()
		}
		return err == nil
	})
}

// openRaw sends a request over a connection of its own, and reads nothing.
func openRaw(t testing.TB, path, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET "+request+" HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// serve serves the handler on a socket until the test ends, and returns its path.
func serve(t testing.TB, h *handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	server, err := serverOf(h, path, quiet())
	exporttest.Start(t, server, err)
	return path
}

// TestUnreadStreams opens streams that nobody reads, as long as there are any: what they take is bounded, others are
// served, and what was taken comes back.
func TestUnreadStreams(t *testing.T) {
	source := newSource()
	h := newHandler(source, tracetest.Cluster(), nil)
	path := serve(t, h)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := heap()
	const clients = 500
	conns := make([]net.Conn, clients)
	for i := range conns {
		// Each with a filter of its own, so that nothing is shared.
		conns[i] = openRaw(t, path, fmt.Sprintf("%s?slower_than=%dns", pathTrace, i))
	}
	exporttest.WaitFor(t, "the streams", func() bool { return source.subscriptions() == maxTraceStreams })
	exporttest.WaitFor(t, "all to be unread", func() bool {
		for range 100 {
			source.publish(tracetest.Request(record.Finished))
		}
		return h.traces.stuck(maxTraceStreams)
	})
	for range 2 * feedLines {
		source.publish(tracetest.Request(record.Finished))
	}
	const most = 64 << 20
	if took := int64(heap()) - int64(before); took > most {
		t.Errorf("%d unread streams take %d MiB", clients, took>>20)
	}
	client := Dial(path)
	defer client.Close()
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("meanwhile: %v", err)
	}
	for _, conn := range conns {
		conn.Close()
	}
	exporttest.WaitFor(t, "the end of all streams", func() bool { return source.subscriptions() == 0 })
	exporttest.WaitFor(t, "the memory to come back", func() bool { return int64(heap())-int64(before) < most/8 })
}

// stuck tells whether n streams have been unread for a while: what is just being sent looks unread too.
func (s *streams) stuck(n int) bool {
	unread := func() map[*place]time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		found := map[*place]time.Time{}
		for p := range s.open {
			if !p.blocked.IsZero() {
				found[p] = p.blocked
			}
		}
		return found
	}
	before := unread()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if len(before) != n || !maps.Equal(before, unread()) {
			return false
		}
	}
	return true
}

// A stream that nobody reads gives its place to one more, of those with headers and of those without.
func TestPlaceOfUnreadStream(t *testing.T) {
	t.Parallel()
	for name, filter := range map[string]trace.Filter{"traces": {}, "headers": {Headers: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testPlaceOfUnread(t, filter)
		})
	}
}

func testPlaceOfUnread(t *testing.T, filter trace.Filter) {
	source := newSource()
	h := newHandler(source, tracetest.Cluster(), nil)
	streams := &h.traces
	if filter.Headers {
		streams = &h.headers
	}
	path := serve(t, h)
	streams.mu.Lock()
	streams.max = 1
	streams.mu.Unlock()
	unread := openRaw(t, path, pathTrace+"?"+filter.Values().Encode())
	exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
	publish := func() {
		for range 100 {
			rec := tracetest.Request(record.Finished)
			rec.Time += 1 << 50 // after headers were read
			source.publish(rec)
		}
	}
	exporttest.WaitFor(t, "the socket to be full", func() bool { publish(); return streams.stuck(1) })
	streams.mu.Lock()
	streams.now = func() time.Time { return time.Now().Add(stalledAfter) }
	streams.mu.Unlock()
	client := Dial(path)
	defer client.Close()
	go func() {
		for t.Context().Err() == nil {
			publish()
			time.Sleep(10 * time.Millisecond)
		}
	}()
	got := 0
	for _, err := range client.Traces(t.Context(), filter) {
		if err != nil {
			t.Fatal(err)
		}
		got++
		break
	}
	if got != 1 {
		t.Errorf("%d journeys came to the one that took the place", got)
	}
	if _, err := io.Copy(io.Discard, unread); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the other one: %v", err)
	}
}

// TestHeaderStreamsRefused has few streams with headers, which take no place of others.
func TestHeaderStreamsRefused(t *testing.T) {
	t.Parallel()
	client := agent(t, newSource())
	for range maxHeaderStreams {
		body, err := client.get(t.Context(), pathTrace, trace.Filter{Headers: true}.Values())
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
	for _, err := range client.Traces(t.Context(), trace.Filter{Headers: true, DropsOnly: true}) {
		if err == nil || !strings.Contains(err.Error(), "all 4 streams of traces with headers") {
			t.Errorf("one more: %v", err)
		}
	}
	body, err := client.get(t.Context(), pathTrace, nil)
	if err != nil {
		t.Fatalf("one without: %v", err)
	}
	body.Close()
}

// The streams of one filter share what is described and encoded, and each counts what it missed.
func TestSharedFeed(t *testing.T) {
	t.Parallel()
	source := newSource()
	h := newHandler(source, tracetest.Cluster(), nil)
	path := serve(t, h)
	const readers = 3
	lines := make([]*bufio.Reader, readers)
	for i := range lines {
		client := Dial(path)
		t.Cleanup(client.Close)
		body, err := client.get(t.Context(), pathTrace, nil)
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = bufio.NewReader(body)
	}
	exporttest.WaitFor(t, "the readers", func() bool {
		h.feeds.mu.Lock()
		defer h.feeds.mu.Unlock()
		return h.feeds.open[trace.Filter{}] != nil && h.feeds.open[trace.Filter{}].readers == readers
	})
	exporttest.WaitFor(t, "the one subscription", func() bool { return source.subscriptions() == 1 })
	source.publish(tracetest.Request(record.Finished))
	for _, l := range lines {
		line, err := l.ReadBytes('\n')
		var got trace.Trace
		if err != nil || json.Unmarshal(line, &got) != nil || got.Kind != "finished" || got.Missed != 0 {
			t.Errorf("%s, %v", line, err)
		}
	}
}

// TestFirstReader: whoever begins a feed reads from its first journey on.
func TestFirstReader(t *testing.T) {
	t.Parallel()
	source := newSource()
	feeds := traceFeeds{source: source, names: tracetest.Cluster()}
	for range 100 {
		reader := feeds.enter(trace.Filter{})
		exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
		source.publish(tracetest.Request(record.Finished))
		exporttest.WaitFor(t, "the journey", func() bool {
			reader.feed.mu.Lock()
			defer reader.feed.mu.Unlock()
			return reader.feed.next == 1
		})
		if reader.next != 0 {
			t.Fatalf("it begins with journey %d", reader.next)
		}
		feeds.leave(trace.Filter{}, reader.feed)
		exporttest.WaitFor(t, "the end of the subscription", func() bool { return source.subscriptions() == 0 })
	}
}

func TestFeedCountsMissed(t *testing.T) {
	t.Parallel()
	feed := newTraceFeed(func() {})
	reader := feed.reader()
	const all = 3 * feedLines
	feed.fill(func(yield func(trace.Trace, error) bool) {
		for i := range all {
			t := trace.Trace{Kind: "finished"}
			if i == all-1 {
				t.Missed = 5
			}
			yield(t, nil)
		}
	})
	var got, missed uint64
	for {
		lines, err, open := reader.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !open {
			break
		}
		for line := range strings.Lines(string(lines)) {
			var one trace.Trace
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			got++
			missed += one.Missed
		}
	}
	if got != feedLines || missed != all-feedLines+5 {
		t.Errorf("%d came and %d are counted as missed, of %d and 5", got, missed, all)
	}
	if !feed.hasEnded() {
		t.Error("it has not ended")
	}
}

func TestTurns(t *testing.T) {
	t.Parallel()
	turns := newTurns("/v1/snapshot")
	turns.wait = time.Millisecond
	for range maxTurns {
		if err := turns.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := turns.take(t.Context()); err == nil || !strings.Contains(err.Error(), "4 answers of /v1/snapshot are being sent") {
		t.Errorf("one more: %v", err)
	}
	turns.give()
	if err := turns.take(t.Context()); err != nil {
		t.Errorf("when one has ended: %v", err)
	}
}
