package aggregate

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

var node = []netdev.Device{
	{Index: 1, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 2, Name: "cali2", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 3, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem"}},
	{Index: 4, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "tbf"}},
}

// names is a Namer from a fixed list.
type names map[netip.Addr]Identity

func (n names) Lookup(a netip.Addr, _ time.Duration) Identity { return n[a] }

// EndpointOf knows one endpoint.
func (n names) EndpointOf(to netip.AddrPort, protocol record.Protocol) string {
	if to == netip.MustParseAddrPort("10.2.0.1:8080") && protocol == record.ProtocolTCP {
		return "default/api"
	}
	return ""
}

var cluster = names{
	netip.MustParseAddr("10.1.0.1"): {Namespace: "default", Pod: "web-1", Workload: "web"},
	netip.MustParseAddr("10.2.0.1"): {Namespace: "default", Pod: "api-1", Workload: "api"},
	netip.MustParseAddr("10.9.0.1"): {Namespace: "default", Service: "api"},
}

func flowOf(src, dst string) record.Flow {
	return record.Flow{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst), Protocol: 6}
}

func hop(hook record.Hook, ifindex, micros int) record.Hop {
	return record.Hop{Hook: hook, Ifindex: ifindex, Time: time.Hour + time.Duration(micros)*time.Microsecond}
}

func newRecord(kind record.Kind, first, last record.Flow, hops ...record.Hop) record.Record {
	r := record.Record{
		Kind: kind, First: first, Last: last, Len: len(hops), Attributed: true,
		Time: hops[len(hops)-1].Time, IPBytes: 1000, Segments: 1, Weight: 1,
	}
	copy(r.Hops[:], hops)
	return r
}

// request is a packet from web to api through its service, queued on tunl0.
func request(kind record.Kind) record.Record {
	hops := []record.Hop{
		hop(record.Ingress, 1, 0), hop(record.Egress, 3, 10), hop(record.Dequeue, 3, 510), hop(record.Xmit, 3, 511),
		hop(record.Egress, 4, 520), hop(record.Dequeue, 4, 522), hop(record.Xmit, 4, 523),
	}
	switch kind {
	case record.Dropped:
		hops = append(hops[:2], hop(record.Free, 3, 12))
	case record.InFlight:
		hops = hops[:2]
	case record.Split: // by eth0's tbf when it was enqueued
		hops = append(hops[:5], hop(record.Free, 4, 523))
	}
	return newRecord(kind, flowOf("10.1.0.1:4000", "10.9.0.1:80"), flowOf("10.1.0.1:4000", "10.2.0.1:8080"), hops...)
}

func newAggregator(t testing.TB, o Options) *Aggregator {
	t.Helper()
	if o.Namer == nil {
		o.Namer = cluster
	}
	a := New(o)
	a.SetDevices(node)
	return a
}

func TestAdd(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	finished := request(record.Finished)
	finished.Weight, finished.Segments = 4, 3
	a.Add(&finished)
	split := request(record.Split)
	a.Add(&split)
	dropped := request(record.Dropped)
	dropped.Weight, dropped.Segments, dropped.Reason, dropped.Location = 4, 2, "QDISC_DROP", "__dev_queue_xmit"
	a.Add(&dropped)
	noise := newRecord(record.Dropped, dropped.First, dropped.Last, hop(record.Ingress, 4, 0), hop(record.Free, 4, 1))
	noise.Reason = "OTHERHOST"
	a.Add(&noise)
	bad := newRecord(record.Finished, dropped.First, dropped.Last, hop(record.Ingress, 77, 0))
	a.Add(&bad)
	open := request(record.InFlight)
	a.Add(&open)

	s := a.Snapshot()
	if s.Records != 6 || s.Pathless != 2 {
		t.Errorf("%d records, %d without a path", s.Records, s.Pathless)
	}
	if len(s.Pairs) != 1 || len(s.Flows) != 1 {
		t.Fatalf("%d pairs, %d flows", len(s.Pairs), len(s.Flows))
	}
	p := s.Pairs[0]
	if want := (PairKey{"default", "web", "default", "api", journey.Out}); p.PairKey != want || p.Service != "default/api" {
		t.Errorf("pair %+v through %q", p.PairKey, p.Service)
	}
	if p.Packets != 13 || p.Bytes != 5000 {
		t.Errorf("%v packets, %v bytes", p.Packets, p.Bytes)
	}
	// The split one's residence is not known: its segments waited on.
	if p.Path.Count() != 4 || !near(p.Path.Quantile(1), 523e-6) {
		t.Errorf("path: %d, %v s", p.Path.Count(), p.Path.Quantile(1))
	}
	want := map[StageKey]struct {
		timed, untimed uint64
		delay          float64
	}{
		{journey.Forward, "tunl0", journey.Out}: {4 + 1 + 4, 0, 10e-6},
		{journey.Queue, "tunl0", journey.Out}:   {4 + 1, 0, 501e-6},
		{journey.Encap, "tunl0", journey.Out}:   {4 + 1, 0, 9e-6},
		{journey.Queue, "eth0", journey.Out}:    {4, 1, 3e-6},
	}
	for name, stages := range map[string][]StageDelay{"device": s.Stages, "pair": p.Stages} {
		if len(stages) != len(want) {
			t.Errorf("%s: %d stages", name, len(stages))
		}
		for _, st := range stages {
			w := want[st.StageKey]
			if st.Delay.Count() != w.timed || st.Untimed != w.untimed || !near(st.Delay.Quantile(1), w.delay) {
				t.Errorf("%s: %+v: %d of %v s, %d untimed; want %+v",
					name, st.StageKey, st.Delay.Count(), st.Delay.Quantile(1), st.Untimed, w)
			}
		}
	}
	queue := DropCount{DropKey{StageKey{journey.Queue, "tunl0", journey.Out}, "QDISC_DROP", "__dev_queue_xmit", true}, 1, 2, 0}
	other := DropCount{DropKey{StageKey{journey.Forward, "eth0", journey.In}, "OTHERHOST", "", false}, 1, 1, 0}
	if got := []DropCount{other, queue}; !reflect.DeepEqual(s.Drops, got) {
		t.Errorf("drops %+v", s.Drops)
	}
	if !reflect.DeepEqual(p.Drops, []DropCount{queue}) {
		t.Errorf("the pair's drops %+v", p.Drops)
	}
	if f := s.Flows[0]; f.Packets != 13 || f.Drops != 1 || f.Src.Pod != "web-1" || f.Dst.Pod != "api-1" || f.LastSeen != dropped.Time {
		t.Errorf("flow %+v", f)
	}
}

func near(got, want float64) bool { return math.Abs(got-want) <= want*hist.MaxError }

// TestNames checks who a pair is named after.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		first, last record.Flow
		want        PairKey
		service     string
		endpointOf  string
	}{
		{"request through a service", flowOf("10.1.0.1:1", "10.9.0.1:80"), flowOf("10.1.0.1:1", "10.2.0.1:8080"),
			PairKey{"default", "web", "default", "api", journey.Out}, "default/api", ""},
		{"request to an endpoint of a service", flowOf("10.1.0.1:1", "10.2.0.1:8080"), flowOf("10.1.0.1:1", "10.2.0.1:8080"),
			PairKey{"default", "web", "default", "api", journey.Out}, "", "default/api"},
		{"its reply", flowOf("10.2.0.1:8080", "10.1.0.1:1"), flowOf("10.9.0.1:80", "10.1.0.1:1"),
			PairKey{"default", "api", "default", "web", journey.Out}, "", ""},
		{"not yet translated", flowOf("10.1.0.1:1", "10.9.0.1:80"), flowOf("10.1.0.1:1", "10.9.0.1:80"),
			PairKey{"default", "web", "default", "_unknown", journey.Out}, "default/api", ""},
		{"from nobody known", flowOf("192.0.2.1:1", "10.2.0.1:80"), flowOf("192.0.2.1:1", "10.2.0.1:80"),
			PairKey{"", "_unknown", "default", "api", journey.Out}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAggregator(t, Options{})
			r := newRecord(record.Finished, test.first, test.last, hop(record.Ingress, 1, 0), hop(record.Egress, 4, 1), hop(record.Xmit, 4, 2))
			a.Add(&r)
			if p := a.Snapshot().Pairs[0]; p.PairKey != test.want || p.Service != test.service || p.EndpointOf != test.endpointOf {
				t.Errorf("%+v through %q, to an endpoint of %q, want %+v", p.PairKey, p.Service, p.EndpointOf, test)
			}
		})
	}
}

// TestLateName checks that a flow moves to the right pair once its address is known.
func TestLateName(t *testing.T) {
	t.Parallel()
	late := names{}
	a := newAggregator(t, Options{Namer: late})
	r := request(record.Finished)
	a.Add(&r)
	for addr, id := range cluster {
		late[addr] = id
	}
	a.Add(&r)
	s := a.Snapshot()
	if len(s.Flows) != 1 || s.Flows[0].Src.Workload != "web" {
		t.Errorf("flows %+v", s.Flows)
	}
	if len(s.Pairs) != 2 || s.Pairs[0].SrcWorkload != "_unknown" || s.Pairs[1].SrcWorkload != "web" {
		t.Errorf("pairs %+v", s.Pairs)
	}
}

// TestBounds checks that neither pairs nor flows grow without end, and that nothing is lost from the totals.
func TestBounds(t *testing.T) {
	t.Parallel()
	many := names{}
	a := newAggregator(t, Options{Namer: many, MaxPairs: 10, MaxFlows: 20, PairIdle: time.Minute})
	r := request(record.Finished)
	send := func(i int, at time.Duration) {
		src := netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)})
		many[src] = Identity{Namespace: "default", Workload: fmt.Sprint("w", i)}
		r.First.Source, r.Last.Source = netip.AddrPortFrom(src, 1), netip.AddrPortFrom(src, 1)
		r.Time = at
		a.Add(&r)
	}
	for i := range 100 {
		send(i, time.Hour)
	}
	s := a.Snapshot()
	if len(s.Pairs) != 11 || s.PairOverflow != 90 || len(s.Flows) != 20 || s.FlowOverflow != 80 {
		t.Errorf("%d pairs (%d over), %d flows (%d over)", len(s.Pairs), s.PairOverflow, len(s.Flows), s.FlowOverflow)
	}
	if got := s.Pairs[0]; got.SrcWorkload != "_other" || got.Packets != 90 {
		t.Errorf("the rest: %+v", got.PairKey)
	}
	if s.Flows[0].Src.Workload != "w99" || s.Flows[19].Src.Workload != "w80" {
		t.Errorf("flows from %s to %s", s.Flows[0].Src.Workload, s.Flows[19].Src.Workload)
	}
	for _, st := range s.Stages {
		if st.Passed() != 100 {
			t.Errorf("%+v: %d", st.StageKey, st.Passed())
		}
	}
	// One pair stays busy; of the silent ones' room a new one takes its own, and an old flow its pair's.
	send(0, time.Hour+50*time.Second)
	send(99, time.Hour+70*time.Second)
	s = a.Snapshot()
	got := map[string]float64{}
	for _, p := range s.Pairs {
		got[p.SrcWorkload] = p.Packets
	}
	if want := map[string]float64{"_other": 90, "w0": 2, "w99": 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("pairs %v, want %v", got, want)
	}
}

// versioned are names that change by version, each time from a time on.
type versioned struct {
	names
	version uint64
	since   time.Duration
	asked   int
}

func (v *versioned) Lookup(a netip.Addr, at time.Duration) Identity {
	v.asked++
	return v.names.Lookup(a, at)
}

func (v *versioned) Version() (uint64, time.Duration) { return v.version, v.since }

// lateEndpoints is a versioned namer that learns what endpoints there are after the names.
type lateEndpoints struct {
	versioned
	service string
}

func (l *lateEndpoints) EndpointOf(netip.AddrPort, record.Protocol) string { return l.service }

// TestLateEndpoint: a flow's destination may become known as a Service's endpoint when its names have long been.
func TestLateEndpoint(t *testing.T) {
	t.Parallel()
	l := &lateEndpoints{versioned: versioned{names: names{
		netip.MustParseAddr("10.1.0.1"): {Workload: "web"}, netip.MustParseAddr("10.2.0.1"): {Workload: "api"},
	}, version: 1}}
	a := newAggregator(t, Options{Namer: l})
	to := flowOf("10.1.0.1:1", "10.2.0.1:8080")
	r := newRecord(record.Finished, to, to, hop(record.Ingress, 1, 0), hop(record.Egress, 4, 1), hop(record.Xmit, 4, 2))
	a.Add(&r)
	l.service = "default/api"
	l.version++
	a.Add(&r)
	if p := a.Snapshot().Pairs; len(p) != 1 || p[0].EndpointOf != "default/api" {
		t.Errorf("%+v", p)
	}
}

// TestVersionedNames checks that a flow's names are kept as long as they hold, and no longer.
func TestVersionedNames(t *testing.T) {
	t.Parallel()
	web, api := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")
	v := &versioned{names: names{web: {Workload: "web"}, api: {Workload: "api"}}, version: 1}
	a := newAggregator(t, Options{Namer: v})
	r := request(record.Finished)
	at := r.Start()
	add := func(want string, asked bool) {
		t.Helper()
		before := v.asked
		a.Add(&r)
		for _, p := range a.Snapshot().Pairs {
			if p.SrcWorkload == want {
				if (v.asked > before) != asked {
					t.Errorf("%s: asked %d times", want, v.asked-before)
				}
				return
			}
		}
		t.Errorf("no pair of %s", want)
	}
	add("web", true)
	add("web", false)
	v.names[web] = Identity{Workload: "web2"}
	add("web", false)
	v.version++
	add("web2", true)
	add("web2", false)
	// Names that changed after the packet tell nothing of those before it.
	v.version++
	v.since = at + 1
	v.names[web] = Identity{Workload: "web3"}
	add("web3", true)
	add("web3", true)
	v.since = at
	add("web3", true)
	add("web3", false)
	// An address without a name may get one at any time.
	v.version++
	v.names[web] = Identity{}
	add("_unknown", true)
	add("_unknown", true)
	if s := a.Snapshot(); len(s.Pairs) != 4 || s.Records != 11 {
		t.Errorf("%d pairs of %d records", len(s.Pairs), s.Records)
	}
}

// TestConcurrent is for the race detector: one goroutine adds while others take snapshots, which stay as they were.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{MaxFlows: 8})
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			var old *Snapshot
			for {
				s := a.Snapshot()
				if w := s.Since(old); w.Records > s.Records {
					t.Errorf("%d records in a window of %d", w.Records, s.Records)
				}
				old = s
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	r := request(record.Finished)
	for i := range 20_000 {
		r.First.Source = netip.AddrPortFrom(r.First.Source.Addr(), uint16(i%32))
		a.Add(&r)
		if i%1000 == 0 {
			a.SetDevices(node)
			a.SetInFlight([]record.Record{request(record.InFlight)})
			a.AddMissed(record.Finished, 1)
		}
	}
	close(stop)
	readers.Wait()
	if s := a.Snapshot(); s.Records != 20_000 {
		t.Errorf("%d records", s.Records)
	}
}

func TestAddAllocates(t *testing.T) {
	a := newAggregator(t, Options{MaxFlows: 4})
	finished, dropped := request(record.Finished), request(record.Dropped)
	finished.First.Destination = finished.Last.Destination // a service's name would be put together anew
	dropped.Reason = "QDISC_DROP"
	port := uint16(0)
	add := func() {
		port++ // more flows than there is room for
		finished.First.Source = netip.AddrPortFrom(finished.First.Source.Addr(), port%8)
		a.Add(&finished)
		a.Add(&dropped)
	}
	for range 100 {
		add()
	}
	if n := testing.AllocsPerRun(1000, add); n != 0 {
		t.Errorf("%v allocations for a new flow", n)
	}
}

// TestUntimed counts a packet that reached a pod past its device as passed, though how long it took is not known.
func TestUntimed(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	r := request(record.Finished)
	one := newRecord(record.Finished, r.First, r.Last, hop(record.Ingress, 4, 0))
	one.Weight = 3
	a.Add(&one)
	before := a.Snapshot()
	a.Add(&one)
	for i, p := range []Pair{before.Pairs[0], a.Snapshot().Since(before).Pairs[0]} {
		if p.Passed() != 3 || p.Path.Count() != 0 {
			t.Errorf("%d: %d passed, of %d the time is known", i, p.Passed(), p.Path.Count())
		}
	}
}
