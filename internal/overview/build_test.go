package overview

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
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
