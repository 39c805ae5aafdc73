package overview

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

func flow(src, dst string) record.Flow {
	return record.Flow{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst), Protocol: unix.IPPROTO_UDP}
}

func query(t testing.TB, by By, filter, sort string) Query {
	t.Helper()
	q := Query{By: by}
	var err error
	if q.Filter, err = ParseFilter(filter); err != nil {
		t.Fatal(err)
	}
	if sort != "" {
		if err := q.Sort.Set(sort); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// TestGolden keeps what scripts and the live view read.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, by := range RowKinds() {
		checkJSON(t, string(by)+".json", Build(story(), query(t, by, "", "")))
	}
	q := query(t, ByPair, "", "")
	q.Pair = &webToAPI
	checkJSON(t, "detail.json", Build(story(), q))
}

// TestStory checks what must be seen of the faulty queue, whatever else is shown.
func TestStory(t *testing.T) {
	t.Parallel()
	o := Build(story(), query(t, ByPair, "", ""))
	first := o.Rows[0]
	if first.Key() != webToAPI || *first.Worst != (Place{journey.Queue, "tunl0"}) || first.InFlight != 35 || first.Drops.Reason != "QDISC_DROP" || first.Drops.Packets != 50 {
		t.Errorf("first row %+v", first)
	}
	var places []string
	var share float64
	for _, s := range first.Stages {
		places = append(places, s.String())
		share += s.Share
	}
	if want := []string{"forward tunl0", "queue tunl0", "encap tunl0", "queue eth0"}; !slices.Equal(places, want) {
		t.Errorf("stages in the order %v, want %v", places, want)
	}
	if share < 0.999 || share > 1.001 || !first.Stages[1].Slow || first.Stages[3].Slow || first.Stages[0].WarnAbove != nil {
		t.Errorf("stages %+v", first.Stages)
	}
	// A pair none of whose packets came out is there too, by those in flight.
	i := slices.IndexFunc(o.Rows, func(r Row) bool { return r.Src.Workload == "metrics" })
	if i < 0 || o.Rows[i].Path != nil || o.Rows[i].InFlight != 2 || o.Rows[i].Worst.Device != "tunl0" {
		t.Errorf("pair in flight: %d of %+v", i, o.Rows)
	}
	if o.Verdict != diagnose.Fault || !strings.Contains(o.Summary, "tunl0") {
		t.Errorf("%s: %s", o.Verdict, o.Summary)
	}
	if len(o.Devices) != 4 || o.Devices[0].Name != "tunl0" || len(o.Devices[0].Unusual) != 4 || len(o.Devices[1].Unusual) != 0 {
		t.Errorf("devices %+v", o.Devices)
	}
	if o.Devices[0].DropsPerSecond != 5 || o.Devices[0].TxPackets != 60 {
		t.Errorf("rates of tunl0: %+v", o.Devices[0])
	}
	if len(o.Drops) != 1 || o.Drops[0].PerSecond != 5 { // what is consumed is no loss
		t.Errorf("drops %+v", o.Drops)
	}
}

// TestClampedInFlight leaves out what exceeds the queue's own backlog.
func TestClampedInFlight(t *testing.T) {
	t.Parallel()
	in := story()
	in.Window.InFlight[0].Device, in.Window.InFlight[0].Oldest = "eth0", 200
	if o := Build(in, query(t, ByPair, "", "")); len(o.InFlight) != 0 || slices.ContainsFunc(o.Rows, func(r Row) bool { return r.InFlight > 0 }) {
		t.Errorf("in flight %+v", o.InFlight)
	}
}

// TestLostSight: a packet that was seen last where nothing waits makes its pair neither slow nor painful, however long ago that was.
func TestLostSight(t *testing.T) {
	t.Parallel()
	in := story()
	in.Window.InFlight = in.Window.InFlight[:1]
	in.Window.InFlight[0].Stage, in.Window.InFlight[0].Device, in.Window.InFlight[0].Oldest = journey.Unknown, "eth0", 20
	o := Build(in, query(t, ByPair, "", ""))
	for _, r := range o.Rows {
		if r.InFlight != 0 || r.Worst != nil && r.Worst.Stage == journey.Unknown {
			t.Errorf("%s: %v held, worst %v", r.Src.Workload, r.InFlight, r.Worst)
		}
	}
	if len(o.InFlight) != 1 {
		t.Errorf("in flight %+v, want the packet", o.InFlight)
	}
}

// TestEmpty has lists everywhere, not null, so that scripts need not care.
func TestEmpty(t *testing.T) {
	t.Parallel()
	gone := pairKey("default", "gone", "default", "api", journey.Out)
	for _, by := range RowKinds() {
		q := query(t, by, "", "")
		q.Pair = &gone
		o := Build(Input{Window: &aggregate.Snapshot{Flows: []aggregate.Flow{}}}, q)
		if o.Findings == nil || o.HooksMissing == nil || o.InFlight == nil || o.Drops == nil || o.Devices == nil || by != ByDevice && o.Rows == nil {
			t.Errorf("%s: %+v", by, o)
		}
		if d := o.Detail; d.Row.Key() != gone || d.Row.Stages == nil || d.History == nil || d.Slowest == nil || d.InFlight == nil {
			t.Errorf("detail %+v", d)
		}
	}
	if o := Build(Input{Window: &aggregate.Snapshot{}}, query(t, ByFlow, "", "")); o.Rows != nil {
		t.Error("flows that nobody counted yet are none")
	}
}

// TestEndpointOf: packets that are sent to an endpoint itself are a Service's, and not by its address.
func TestEndpointOf(t *testing.T) {
	t.Parallel()
	in := story()
	for i := range in.Window.Pairs {
		if p := &in.Window.Pairs[i]; p.Service == "shop/cart" {
			p.Service, p.EndpointOf = "", "shop/cart"
		} else if p.Service != "" {
			p.EndpointOf = "shop/other" // of some of its packets
		}
	}
	for _, by := range []By{ByPair, ByService} {
		rows := Build(in, query(t, by, "service=shop/cart", "")).Rows
		if len(rows) != 1 || rows[0].Service != "" || rows[0].EndpointOf != "shop/cart" {
			t.Errorf("%s: %+v", by, rows)
		}
		for _, r := range Build(in, query(t, by, "", "")).Rows {
			if r.Service != "" && r.EndpointOf != "" {
				t.Errorf("%s: both a Service's and an endpoint's: %+v", by, r)
			}
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	q := query(t, ByPair, "", "src")
	q.Limit = 2
	o := Build(story(), q)
	if len(o.Rows) != 2 || o.RowsTotal != 6 || o.Rows[0].Src.Namespace != "batch" {
		t.Errorf("%d of %d rows: %+v", len(o.Rows), o.RowsTotal, o.Rows)
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"pain": "web", "-pain": "checkout", "pps": "api", "-p50": "metrics", "p99": "web", "held": "web", "drops": "web", "src": "nightly-report",
		"dst": "nightly-report", "dir": "api", "worst": "api", "bps": "api", "rtt": "web", "resent": "web",
	} {
		o := Build(story(), query(t, ByPair, "", key))
		if got := o.Rows[0].Src.Workload; got != want {
			t.Errorf("by %s the first is %s, want %s", key, got, want)
		}
	}
	for _, key := range SortKeys() {
		var s Sort
		if err := s.Set("-" + key); err != nil || s.String() != "-"+key {
			t.Errorf("%s: %v, %s", key, err, s.String())
		}
	}
	if err := new(Sort).Set("jitter"); err == nil || !strings.Contains(err.Error(), "choose pain, src") {
		t.Errorf("%v", err)
	}
}

// TestPain counts what is beyond the baseline, and for a lost packet the time until it is sent again, as the diagnosis
// does.
func TestPain(t *testing.T) {
	t.Parallel()
	pain := func(in Input) float64 {
		rows := Build(in, query(t, ByPair, "", "")).Rows
		return rows[slices.IndexFunc(rows, func(r Row) bool { return r.Key() == webToAPI })].Pain
	}
	in := story()
	in.Window.InFlight = nil
	slow := pain(in)
	lost := 50 * (aggregate.MinRTO + in.Window.Pairs[1].TCP.RTT.Quantile(0.5)) / 10
	in.Baseline = map[aggregate.StageKey]float64{}
	for _, s := range in.Window.Stages {
		in.Baseline[s.StageKey] = s.Delay.Quantile(1)
	}
	if usual := pain(in); math.Abs(usual-lost) > 1e-9 || slow < lost+20 {
		t.Errorf("pain %v, %v with delays that are usual, want %v for the packets lost", slow, usual, lost)
	}
}

// TestPodQueues shows a queue at a pod's own end: its stage comes first and has a threshold, what is in flight is as much as the
// qdisc says, and the pod's device on the node tells of it.
func TestPodQueues(t *testing.T) {
	t.Parallel()
	at := aggregate.StageKey{Stage: journey.PodQueue, Device: "pod:eth0", Direction: journey.Out}
	pair := aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api", Direction: journey.Out}
	var slow, quick hist.Histogram
	slow.Observe(0.4, 100)
	quick.Observe(0.00001, 100)
	forward := aggregate.StageKey{Stage: journey.Forward, Device: "tunl0", Direction: journey.Out}
	stages := []aggregate.StageDelay{{StageKey: forward, Delay: quick}, {StageKey: at, Delay: slow}}
	in := Input{
		Window: &aggregate.Snapshot{
			Window: 10 * time.Second, Stages: stages, Pairs: []aggregate.Pair{{PairKey: pair, Packets: 100, Stages: stages}},
			InFlight: []aggregate.InFlight{{StageKey: at, Packets: 30, Oldest: 0.4, Pairs: []aggregate.InFlightPair{{PairKey: pair, Packets: 30, Oldest: 0.4}}}},
		},
		Devices: []netdev.Device{{Index: 1, Name: "cali1", Role: netdev.RolePod, Root: netdev.Qdisc{Kind: "noqueue"}, PodEnd: &netdev.PodEnd{
			Name: "eth0", Queues: true, Root: netdev.Qdisc{Kind: "tbf", RateBits: 150_000, BacklogPackets: 20},
		}}},
	}
	in.Window.InFlight[0].Ages.Observe(0.4, 30)
	o := Build(in, Query{By: ByPair, Limit: 10})
	if len(o.Rows) != 1 || len(o.Rows[0].Stages) != 2 {
		t.Fatalf("%+v", o.Rows)
	}
	if st := o.Rows[0].Stages[0]; st.Stage != journey.PodQueue || st.Device != "pod:eth0" || st.WarnAbove == nil || !st.Slow || st.InFlight != 20 {
		t.Errorf("%+v", st)
	}
	if u := o.Devices[0].Unusual; len(u) != 1 || u[0] != "the pod itself has tbf rate 150Kbit on its own eth0" {
		t.Errorf("%q", u)
	}
}
