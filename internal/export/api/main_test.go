package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/export/exporttest"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/pairpath"
	"tracer/internal/record"
)

// No server, stream or client may leave a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var errBroken = errors.New("broken")

// fakeSource is a Source of what a test puts in.
type fakeSource struct {
	mu          sync.Mutex
	snapshot    *aggregate.Snapshot
	devices     []netdev.Device
	status      Status
	report      diagnose.Report
	failing     error
	overviews   int             // that succeed, if not 0
	windows     []time.Duration // that were asked for
	subscribers map[*subscriber]bool
	headers     []string // that were asked for: from which delay on, and whether of drops alone
}

type subscriber struct {
	want   func(*record.Record) bool
	c      chan record.Record
	missed uint64
}

func newSource() *fakeSource {
	return &fakeSource{
		snapshot: exporttest.Snapshot(), devices: exporttest.Devices(), report: exporttest.Report(), subscribers: map[*subscriber]bool{},
		status: Status{
			Version: "v1.2.3", Node: "node-1", Started: exporttest.Noon, Journeys: map[string]uint64{"finished": 900},
			Hooks: []HookStatus{{Program: "p", Hook: "egress", Device: "tunl0", Role: netdev.RoleOverlay, Up: true}},
		},
	}
}

// Path is one whose window is that asked for.
func (s *fakeSource) Path(_ context.Context, q pairpath.Query) (pairpath.Half, error) {
	return pairpath.Half{WindowSeconds: q.Window.Seconds(), Missed: uint64(len(q.Src))}, s.failing
}

func (s *fakeSource) Snapshot() *aggregate.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}

func (s *fakeSource) ActiveFindings() ActiveFindings {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := ActiveFindings{Judged: exporttest.Noon, Findings: []ActiveFinding{}}
	for _, f := range s.report.Findings {
		active := diagnose.ActiveFinding{Finding: f, Since: exporttest.Noon.Add(-time.Hour)}
		all.Findings = append(all.Findings, ActiveFinding{active, netdev.RoleOverlay})
	}
	return all
}

func (s *fakeSource) Devices() []netdev.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.devices
}

func (s *fakeSource) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *fakeSource) Diagnose(_ context.Context, window time.Duration) (diagnose.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windows = append(s.windows, window)
	return s.report, s.failing
}

func (s *fakeSource) Overviews(ctx context.Context, query overview.Query) iter.Seq2[*overview.Overview, error] {
	return func(yield func(*overview.Overview, error) bool) {
		for n := 1; ctx.Err() == nil; n++ {
			s.mu.Lock()
			in, err := overview.Input{Taken: exporttest.Noon, Window: s.snapshot, Devices: s.devices, Report: s.report}, s.failing
			s.mu.Unlock()
			if s.overviews > 0 && n > s.overviews {
				err = errBroken
			}
			in.About.Node = fmt.Sprintf("node-%d", n)
			if !yield(overview.Build(in, query), err) || err != nil {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(query.Interval):
			}
		}
	}
}

func (s *fakeSource) Subscribe(ctx context.Context, want func(*record.Record) bool) (<-chan record.Record, func() uint64) {
	return s.subscribe(ctx, func(rec *record.Record) bool { return rec.Kind != record.Requested && want(rec) })
}

func (s *fakeSource) SubscribeRequests(ctx context.Context, want func(*record.Record) bool) (<-chan record.Record, func() uint64) {
	return s.subscribe(ctx, func(rec *record.Record) bool { return rec.Kind == record.Requested && want(rec) })
}

func (s *fakeSource) subscribe(ctx context.Context, want func(*record.Record) bool) (<-chan record.Record, func() uint64) {
	sub := &subscriber{want: want, c: make(chan record.Record, 4)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers[sub] = true
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.subscribers[sub] {
			delete(s.subscribers, sub)
			close(sub.c)
		}
	})
	return sub.c, func() uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return sub.missed
	}
}

// publish sends a record to those who subscribed, as an agent does.
func (s *fakeSource) publish(rec record.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subscribers {
		if !sub.want(&rec) {
			continue
		}
		select {
		case sub.c <- rec:
		default:
			sub.missed++
		}
	}
}

// end closes all streams, as an agent that stops does.
func (s *fakeSource) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subscribers {
		close(sub.c)
	}
	clear(s.subscribers)
}

func (s *fakeSource) subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subscribers)
}

func (s *fakeSource) set(change func(*fakeSource)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// Headers gives each record of a dropped packet the same header.
func (s *fakeSource) Headers(_ context.Context, slowerThan time.Duration, dropsOnly bool) (func(*record.Record, int) (record.Header, bool), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, fmt.Sprint(slowerThan, dropsOnly))
	return func(r *record.Record, _ int) (record.Header, bool) {
		return record.Header{Hook: record.Free, Time: r.Time, Length: 1000, Bytes: []byte{0x45}}, r.Kind == record.Dropped
	}, s.failing
}
