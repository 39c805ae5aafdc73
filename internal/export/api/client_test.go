package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/export/exporttest"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/pairpath"
	"tracer/internal/record"
	"tracer/internal/trace"
	"tracer/internal/trace/tracetest"
)

// agent serves a source on a socket and returns a client for it.
func agent(t testing.TB, source *fakeSource) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	server, err := newServer(source, path)
	exporttest.Start(t, server, err)
	client := Dial(path)
	t.Cleanup(client.Close)
	return client
}

// TestManyAddresses has an agent take the longest query that is not refused before, of either family.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	client := agent(t, newSource())
	for _, first := range []string{"10.100.100.100", "fd00:1111:2222:3333:4444:5555:6666:1000"} {
		q, src := pairpath.Query{Dst: []netip.Addr{netip.MustParseAddr("192.168.100.100")}, Window: time.Second}, netip.MustParseAddr(first)
		longest := q
		for ; ; src = src.Next() {
			if q.Src = append(q.Src, src); q.Check() != nil {
				break
			}
			longest = q
		}
		if got, err := client.Path(t.Context(), longest); err != nil || got.Missed != uint64(len(longest.Src)) {
			t.Errorf("%d addresses as %s: %v", len(longest.Src), first, err)
		}
		if len(longest.Src) < 200 {
			t.Errorf("%d addresses as %s at most", len(longest.Src), first)
		}
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	source := newSource()
	source.devices[0].Changed = exporttest.Noon
	client := agent(t, source)
	ctx := t.Context()

	if got, err := client.Status(ctx); err != nil || !reflect.DeepEqual(got, source.status) {
		t.Errorf("status %+v, %v", got, err)
	}
	if got, err := ask[[]netdev.Device](ctx, client, pathDevices, nil); err != nil || !reflect.DeepEqual(got, source.devices) {
		t.Errorf("devices %+v, %v", got, err)
	}
	if got, err := client.ActiveFindings(ctx); err != nil || !reflect.DeepEqual(got, source.ActiveFindings()) {
		t.Errorf("active findings %+v, %v", got, err)
	}
	between := pairpath.Query{Src: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Dst: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Window: time.Second}
	if got, err := client.Path(ctx, between); err != nil || got.WindowSeconds != 1 || got.Missed != 1 {
		t.Errorf("path: %+v, %v", got, err)
	}
	if _, err := client.Path(ctx, pairpath.Query{Window: time.Second}); err == nil || !strings.Contains(err.Error(), "parse query: src") {
		t.Errorf("path of no addresses: %v", err)
	}
	if got, err := client.Diagnose(ctx, 1500*time.Millisecond); err != nil || !reflect.DeepEqual(got, source.report) {
		t.Errorf("report %+v, %v", got, err)
	}
	if !reflect.DeepEqual(source.windows, []time.Duration{1500 * time.Millisecond}) {
		t.Errorf("windows %v", source.windows)
	}
	got, err := ask[*aggregate.Snapshot](ctx, client, pathSnapshot, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := source.snapshot
	if !got.Taken.Equal(want.Taken) || len(got.Pairs) != len(want.Pairs) || got.Pairs[0].PairKey != want.Pairs[0].PairKey ||
		got.Pairs[0].Path.Quantile(0.5) != want.Pairs[0].Path.Quantile(0.5) || !reflect.DeepEqual(got.Drops, want.Drops) ||
		got.InFlight[0].Oldest != want.InFlight[0].Oldest || got.Stages[1].Delay.Count() != 3 || got.Stages[1].Device != "tunl0" {
		t.Errorf("snapshot %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	source := newSource()
	client := agent(t, source)
	ctx := t.Context()
	if _, err := client.Diagnose(ctx, -time.Second); err == nil || !strings.Contains(err.Error(), "parse window: -1s is not positive") {
		t.Errorf("window: %v", err)
	}
	source.set(func(s *fakeSource) { s.failing = errBroken })
	if _, err := client.Diagnose(ctx, time.Second); err == nil || !strings.HasSuffix(err.Error(), "agent.sock: broken") {
		t.Errorf("failure: %v", err)
	}
	for path, want := range map[string]string{
		pathDiagnosis + "?window=soon": `invalid duration "soon"`,
		pathTrace + "?pods=web":        `unknown key "pods"`,
		pathOverview + "?by=cow":       `unknown row kind "cow"`,
		pathOverview + "?filter=p50>1": "1",
		"/v2/status":                   "404 Not Found",
	} {
		path, query, _ := strings.Cut(path, "?")
		values := map[string][]string{}
		if key, value, ok := strings.Cut(query, "="); ok {
			values[key] = []string{value}
		}
		if _, err := client.get(ctx, path, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	response, err := client.http.Post("http://agent"+pathStatus, "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", response.Status)
	}
}

func TestNoAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	for _, path := range []string{filepath.Join(dir, "none.sock"), stale} {
		client := Dial(path)
		_, err := client.Status(t.Context())
		if !errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "tracer agent") {
			t.Errorf("%v", err)
		}
		for _, err := range client.Traces(t.Context(), trace.Filter{}) {
			if !errors.Is(err, ErrNoAgent) {
				t.Errorf("trace: %v", err)
			}
		}
	}
}

func TestTraceStream(t *testing.T) {
	t.Parallel()
	source := newSource()
	client := agent(t, source)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	traces := make(chan trace.Trace)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for got, err := range client.Traces(ctx, trace.Filter{Pod: "web", Port: 80}) {
			if err != nil {
				t.Error(err)
				return
			}
			traces <- got
		}
	}()
	next := func() (got trace.Trace) {
		t.Helper()
		select {
		case got = <-traces:
		case <-ended:
			t.Fatal("the stream ended")
		case <-time.After(20 * time.Second):
			t.Fatal("no trace came")
		}
		return got
	}
	exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
	other := tracetest.Request(record.Finished)
	other.First.Source, other.Last.Source = other.Last.Destination, other.Last.Destination // not from web
	source.publish(other)
	source.publish(tracetest.Request(record.Finished))
	got := next()
	if got.Kind != "finished" || got.Src.Workload != "web" || got.Service != "default/api" || got.Missed != 0 {
		t.Errorf("%+v", got)
	}
	// The record's time is that of the monotonic clock: an hour after the machine's start.
	if up := time.Since(got.Time); up < -2*time.Hour || got.Time.Location() != time.UTC {
		t.Errorf("time %v", got.Time)
	}
	source.publish(tracetest.Request(record.Dropped))
	if got := next(); got.Drop == nil || got.Drop.Reason != "QDISC_DROP" {
		t.Errorf("%+v", got)
	}
	cancel()
	<-ended
	exporttest.WaitFor(t, "the end of the subscription", func() bool { return source.subscriptions() == 0 })
}

func TestTraceStreamBreak(t *testing.T) {
	t.Parallel()
	source := newSource()
	client := agent(t, source)
	go func() {
		exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
		source.publish(tracetest.Request(record.Finished))
		source.publish(tracetest.Request(record.Finished))
	}()
	n := 0
	for _, err := range client.Traces(t.Context(), trace.Filter{}) {
		if err != nil {
			t.Error(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d traces", n)
	}
	exporttest.WaitFor(t, "the end of the subscription", func() bool { return source.subscriptions() == 0 })
}

func TestAgentStops(t *testing.T) {
	t.Parallel()
	source := newSource()
	client := agent(t, source)
	go func() {
		exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
		source.end()
	}()
	var last error
	for _, err := range client.Traces(t.Context(), trace.Filter{}) {
		last = err
	}
	if !errors.Is(last, io.EOF) || !strings.Contains(last.Error(), "has stopped") {
		t.Errorf("end of the stream: %v", last)
	}
}

func TestOverviews(t *testing.T) {
	t.Parallel()
	source := newSource()
	source.overviews = 2
	client := agent(t, source)
	filter, err := overview.ParseFilter("web p99>10ms")
	if err != nil {
		t.Fatal(err)
	}
	query := overview.Query{By: overview.ByPair, Interval: overview.MinInterval, Filter: filter, Limit: 1}
	n := 0
	for got, err := range client.Overviews(t.Context(), query) {
		if n++; n == 3 {
			if err == nil || !strings.HasSuffix(err.Error(), "agent.sock: broken") {
				t.Errorf("%v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got.Node != fmt.Sprintf("node-%d", n) || got.SchemaVersion != overview.SchemaVersion || len(got.Rows) != 1 || got.RowsTotal != 1 ||
			got.Rows[0].Src.Workload != "web" || got.Rows[0].Worst.Device != "tunl0" || got.Verdict != source.report.Verdict {
			t.Errorf("%+v", got)
		}
	}
	if n != 3 {
		t.Errorf("%d overviews", n)
	}
	none := Dial(filepath.Join(t.TempDir(), "none.sock"))
	for _, err := range none.Overviews(t.Context(), query) {
		if !errors.Is(err, ErrNoAgent) {
			t.Errorf("without an agent: %v", err)
		}
	}
}

// A stream whose reader does not read holds up neither the source nor the server's end.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	source := newSource()
	path := filepath.Join(t.TempDir(), "agent.sock")
	h := newHandler(source, tracetest.Cluster(), nil)
	server, err := serverOf(h, path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+pathTrace+" HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	exporttest.WaitFor(t, "the subscription", func() bool { return source.subscriptions() == 1 })
	exporttest.WaitFor(t, "the socket to be full", func() bool {
		for range 100 {
			source.publish(tracetest.Request(record.Finished))
		}
		return h.traces.stuck(1)
	})
	began := time.Now()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	const grace = 3 * time.Second // what the server leaves to answers under way
	if took := time.Since(began); took > grace {
		t.Errorf("the end took %v", took)
	}
}
