package export

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/record"
)

// No server, stream or client may leave a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// names is a Namer from a fixed list.
type names map[netip.Addr]aggregate.Identity

func (n names) Lookup(a netip.Addr, _ time.Duration) aggregate.Identity { return n[a] }

var cluster = names{
	netip.MustParseAddr("10.244.1.2"): {Namespace: "default", Pod: "web-1", Workload: "web", Node: "node-1"},
	netip.MustParseAddr("10.244.2.3"): {Namespace: "default", Pod: "api-1", Workload: "api", Node: "node-2"},
	netip.MustParseAddr("10.96.0.10"): {Namespace: "default", Service: "api"},
}

// comcast is the tree that the fault tool of that name sets.
func comcast() netdev.Qdisc {
	return netdev.Qdisc{Kind: "htb", Handle: "10:", Drops: 30, Overlimits: 40, BacklogBytes: 5000, Children: []netdev.Qdisc{
		{Kind: "htb", Class: true, Handle: "10:1", Drops: 1, Overlimits: 2},
		{Kind: "htb", Class: true, Handle: "10:10", Drops: 29, Overlimits: 38, BacklogBytes: 5000, Children: []netdev.Qdisc{
			{Kind: "netem", Handle: "100:", Drops: 29, Overlimits: 38, BacklogBytes: 5000},
		}},
	}}
}

// fifos is an mq as the kernel makes it.
func fifos() netdev.Qdisc {
	leaf := func(drops uint64) netdev.Qdisc {
		return netdev.Qdisc{Kind: "pfifo_fast", Handle: "0:", Drops: drops, BacklogBytes: 100}
	}
	class := func(drops uint64) netdev.Qdisc {
		return netdev.Qdisc{Kind: "mq", Class: true, Drops: drops, Children: []netdev.Qdisc{leaf(drops)}}
	}
	return netdev.Qdisc{Kind: "mq", Handle: "0:", Drops: 7, Children: []netdev.Qdisc{class(3), class(4)}}
}

func testDevices() []netdev.Device {
	none := netdev.Qdisc{Kind: "noqueue", Handle: "0:"}
	tbf := func(drops, backlog uint64) netdev.Qdisc {
		return netdev.Qdisc{Kind: "tbf", Handle: "1:", Drops: drops, Overlimits: 10 * drops, BacklogBytes: backlog}
	}
	return []netdev.Device{
		{Index: 4, Name: "cali1", Role: netdev.RolePod, Lowest: true, Up: true, Root: tbf(2, 10)},
		{Index: 5, Name: "cali2", Role: netdev.RolePod, Lowest: true, Up: true, Root: tbf(3, 20)},
		{Index: 6, Name: "cali3", Role: netdev.RolePod, Lowest: true, Up: true, Root: none},
		{Index: 7, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: comcast()},
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Lowest: true, Up: true, Root: fifos()},
	}
}

func delays(millis ...float64) (h hist.Histogram) {
	for _, ms := range millis {
		h.Observe(ms/1000, 1)
	}
	return h
}

func stageKey(stage journey.Stage, device string) aggregate.StageKey {
	return aggregate.StageKey{Stage: stage, Device: device, Direction: journey.Out}
}

func testSnapshot() *aggregate.Snapshot {
	stages := []aggregate.StageDelay{
		{StageKey: stageKey(journey.Forward, "tunl0"), Delay: delays(0.02, 0.02, 0.03, 0)},
		{StageKey: stageKey(journey.Queue, "tunl0"), Delay: delays(501, 502, 530)},
		{StageKey: stageKey(journey.Queue, "eth0"), Untimed: 3}, // nothing measured: no series
	}
	drop := func(reason, location string, loss bool, n uint64) aggregate.DropCount {
		return aggregate.DropCount{
			DropKey: aggregate.DropKey{StageKey: stageKey(journey.Queue, "tunl0"), Reason: reason, Location: location, Loss: loss},
			Packets: n, Segments: 2 * n,
		}
	}
	lost := []aggregate.DropCount{
		drop("QDISC_DROP", "__dev_queue_xmit", true, 12),
		drop("QDISC_DROP", "netem_enqueue", true, 3),
		drop("SKB_CONSUMED", "x", false, 100),
		{DropKey: aggregate.DropKey{StageKey: aggregate.StageKey{Stage: journey.Unknown}, Reason: "NO_ROUTE", Loss: true}, Packets: 1},
	}
	return &aggregate.Snapshot{
		Taken: noon, Window: time.Hour, Stages: stages, Drops: lost,
		Pairs: []aggregate.Pair{
			{
				PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api", Direction: journey.Out},
				Packets: 4.5, Bytes: 6000, Path: delays(502, 503, 531), Stages: stages, Drops: lost[:3],
				TCP: &aggregate.TCP{RTT: delays(503, 504), Segments: 40, Retransmits: 3},
			},
			{ // the same two on this node alone
				PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api", Direction: journey.Local},
				Packets: 2, Bytes: 200, Path: delays(0.1, 0.1),
			},
			{
				PairKey: aggregate.PairKey{SrcWorkload: "_other", DstWorkload: "_other", Direction: journey.Out},
				Packets: 7, Bytes: 700, Path: delays(1),
			},
		},
		InFlight: []aggregate.InFlight{
			{StageKey: stageKey(journey.Queue, "tunl0"), Packets: 37, Oldest: 19.5},
			{StageKey: stageKey(journey.Encap, "tunl0"), Packets: 1, Oldest: 0.01},
		},
	}
}

func testStatus() Status {
	hook := func(name, device string, role netdev.Role, up bool) HookStatus {
		return HookStatus{Program: "p", Hook: name, Device: device, Role: role, Up: up}
	}
	return Status{
		Version: "v1.2.3", Node: "node-1", Kernel: "6.18.0", Netns: 4026531840, Started: noon.Add(-time.Hour),
		Hooks: []HookStatus{
			hook("kfree_skb", "", netdev.RoleOther, true),
			hook("ingress", "cali1", netdev.RolePod, true),
			hook("ingress", "cali2", netdev.RolePod, false),
			hook("ingress", "cali3", netdev.RolePod, true),
			hook("egress", "tunl0", netdev.RoleOverlay, true),
		},
		Omitted:        []OmittedHook{{Hook: "tc", Device: "docker0", Reason: "a bridge"}},
		Journeys:       map[string]uint64{"finished": 900, "dropped": 15, "vanished_ingress": 3},
		Lost:           map[string]uint64{"journey": 2, "drop": 0, "split": 0},
		SampleRatio:    0.25,
		SampleOneIn:    16,
		SampleBudget:   8,
		Programs:       []ProgramStatus{{Program: "tracer_xmit", Runs: 10, Seconds: 0.001, RecursionMisses: 1}},
		IdentityMisses: 5,
		IdentityEarly:  3,
		LastRead:       noon.Add(-time.Second),
		Hooked:         true,
	}
}

func testReport() diagnose.Report {
	p50 := 0.501
	return diagnose.Report{
		SchemaVersion: diagnose.SchemaVersion, Node: "node-1", Started: noon, WindowSeconds: 15, Verdict: diagnose.Fault,
		Summary: "tunl0 holds packets",
		Findings: []diagnose.Finding{{
			Kind: diagnose.KindDelay, Cause: diagnose.QdiscDelay, Severity: diagnose.Critical, Stage: journey.Queue,
			Device: "tunl0", Direction: journey.Out, Confidence: 0.9, Delay: &diagnose.Delay{P50: &p50},
			Pairs: []diagnose.Pair{{Src: "default/web", Dst: "default/api"}}, PairsTotal: 1,
		}},
	}
}

func flowOf(src, dst string) record.Flow {
	return record.Flow{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst), Protocol: unix.IPPROTO_TCP}
}

func hop(hook record.Hook, ifindex, micros int) record.Hop {
	return record.Hop{Hook: hook, Ifindex: ifindex, Time: time.Hour + time.Duration(micros)*time.Microsecond}
}

// request is a packet from web to api through its service: tunl0 holds it for half a second.
func request(kind record.Kind) record.Record {
	hops := []record.Hop{
		hop(record.Ingress, 4, 0), hop(record.Egress, 7, 20), hop(record.Dequeue, 7, 500_020), hop(record.Xmit, 7, 500_021),
		hop(record.Egress, 2, 500_030), hop(record.Dequeue, 2, 500_032), hop(record.Xmit, 2, 500_033),
	}
	rec := record.Record{
		Kind: kind, Attributed: true, SKBBytes: 1014, IPBytes: 1000, WireBytes: 1034, Segments: 1, Weight: 4,
		First: flowOf("10.244.1.2:4000", "10.96.0.10:80"), Last: flowOf("10.244.1.2:4000", "10.244.2.3:8080"),
	}
	switch kind {
	case record.Dropped:
		hops = append(hops[:2], hop(record.Free, 7, 25))
		rec.Reason, rec.Location = "QDISC_DROP", "__dev_queue_xmit"
	case record.InFlight:
		hops = hops[:2]
	}
	rec.Len = copy(rec.Hops[:], hops)
	rec.Time = hops[len(hops)-1].Time
	if kind == record.InFlight {
		rec.Time += 3 * time.Second
	}
	return rec
}

// fakeSource is a Source of what a test puts in.
type fakeSource struct {
	mu        sync.Mutex
	snapshot  *aggregate.Snapshot
	devices   []netdev.Device
	status    Status
	report    diagnose.Report
	failing   error
	snapshots int
	windows   []time.Duration
	taps      map[*fakeTap]bool
}

type fakeTap struct {
	want func(*record.Record) bool
	c    chan record.Record
	lost uint64
}

func newSource() *fakeSource {
	return &fakeSource{
		snapshot: testSnapshot(), devices: testDevices(), status: testStatus(), report: testReport(), taps: map[*fakeTap]bool{},
	}
}

func (s *fakeSource) Snapshot() *aggregate.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots++
	return s.snapshot
}

func (s *fakeSource) SnapshotWithoutFlows() *aggregate.Snapshot { return s.Snapshot() }

func (s *fakeSource) Held() Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Held{Judged: noon, Findings: []HeldFinding{}}
	for _, f := range s.report.Findings {
		h.Findings = append(h.Findings, HeldFinding{diagnose.ActiveFinding{Finding: f, Since: noon.Add(-time.Hour)}, netdev.RoleOverlay})
	}
	return h
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
			in, err := overview.Input{Taken: noon, Window: s.snapshot, Devices: s.devices, Report: s.report}, s.failing
			s.mu.Unlock()
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
	tap := &fakeTap{want: want, c: make(chan record.Record, 4)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps[tap] = true
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.taps[tap] {
			delete(s.taps, tap)
			close(tap.c)
		}
	})
	return tap.c, func() uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return tap.lost
	}
}

// publish sends a record to those who subscribed, as an agent does.
func (s *fakeSource) publish(rec record.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tap := range s.taps {
		if !tap.want(&rec) {
			continue
		}
		select {
		case tap.c <- rec:
		default:
			tap.lost++
		}
	}
}

// end closes all streams, as an agent that stops does.
func (s *fakeSource) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tap := range s.taps {
		close(tap.c)
	}
	clear(s.taps)
}

func (s *fakeSource) subscribers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taps)
}

func (s *fakeSource) set(change func(*fakeSource)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// waitFor waits until a condition holds.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// start runs a server until the test ends, and fails it if the server does not end well.
func start(t testing.TB, server *Server, err error) *Server {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(2 * grace):
			t.Error("the server does not end")
		}
	})
	return server
}

var errBroken = errors.New("broken")
