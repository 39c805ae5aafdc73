package diagnose

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[Verdict]int{Healthy: 0, Fault: 2, NoTraffic: 3} {
		if got := (&Report{Verdict: verdict}).ExitCode(); got != want {
			t.Errorf("%s exits with %d, want %d", verdict, got, want)
		}
	}
}

// TestAbsentIsNull checks the part of the contract that a struct does not show: lists are never null, what was not
// measured always is.
func TestAbsentIsNull(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(Diagnose("", Snapshot{}, Snapshot{}))
	if err != nil || !strings.Contains(string(data), `"verdict":"no-traffic"`) || !strings.Contains(string(data), `"findings":[]`) {
		t.Errorf("%s, %v", data, err)
	}
	data, err = json.Marshal(load(t, "testdata/overlay-nothing-comes-out.json").snapshots().diagnose().Findings[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"p50_seconds":null`, `"p99_seconds":null`, `"baseline_p50_seconds":null`,
		`"share_of_path":null`, `"drops":null`, `"service":null`, `"oldest_seconds":18.2`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

// TestBelieve checks which open journeys count as waiting.
func TestBelieve(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		backlog uint64
		passed  uint64
		want    uint64
		oldest  float64
	}{
		{"backlog bears them out", 50, 10, 40, 40},
		{"only the youngest wait", 10, 10, 10, 10},
		{"none wait", 0, 10, 0, 0},
		{"the qdisc does not say", 0, 0, 40, 40},
	} {
		q := queue{held: 40, oldest: 40, passed: test.passed, devices: []netdev.Device{{
			Root: netdev.Qdisc{Kind: "htb", Children: []netdev.Qdisc{
				{Kind: "htb", Class: true, Children: []netdev.Qdisc{{Kind: "netem", BacklogPackets: test.backlog}}}}},
		}}}
		for i := range 40 {
			q.heldAges.Observe(float64(i+1), 1)
		}
		q.believe()
		if q.held != test.want || q.heldAges.Count() != test.want ||
			q.oldest < test.oldest || q.oldest > test.oldest*(1+hist.MaxError) {
			t.Errorf("%s: %d held, the oldest for %v s; want %d, %v s", test.name, q.held, q.oldest, test.want, test.oldest)
		}
	}
}

// TestHeldBefore checks that the loss is set against what arrived in the window, not against what waited before.
func TestHeldBefore(t *testing.T) {
	t.Parallel()
	e := load(t, "testdata/overlay-tbf-growing.json").snapshots()
	e.from.Counts = &aggregate.Snapshot{InFlight: []aggregate.InFlight{{
		StageKey: aggregate.StageKey{Stage: journey.Queue, Device: "vxlan.calico", Direction: journey.Out},
		Packets:  830,
	}}}
	r := e.diagnose()
	f := r.Findings[slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Cause == QdiscDrop })]
	if want := 100.0 / (100 + 30 + 70); *f.Drops.Ratio != want {
		t.Errorf("ratio %v, want %v", *f.Drops.Ratio, want)
	}
}

// TestExpectOf checks what each kind of queue is judged as.
func TestExpectOf(t *testing.T) {
	t.Parallel()
	class := func(children ...netdev.Qdisc) []netdev.Qdisc {
		return []netdev.Qdisc{{Kind: "htb", Class: true, Children: children}}
	}
	for _, test := range []struct {
		role netdev.Role
		root netdev.Qdisc
		want expectation
	}{
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "noqueue"}, ofNoqueue},
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "htb", Children: class(netdev.Qdisc{Kind: "netem"})}, ofNetem},
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "htb", Children: class(netdev.Qdisc{Kind: "fq_codel"})}, ofNoqueue},
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "fq_codel"}, ofAQM("fq_codel", 5*time.Millisecond)},
		{netdev.RolePod, netdev.Qdisc{Kind: "tbf"}, ofBandwidth},
		{netdev.RolePod, netdev.Qdisc{Kind: "tbf", Children: []netdev.Qdisc{{Kind: "netem"}}}, ofNetem},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "tbf"}, ofFIFO},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "pfifo_fast"}, ofFIFO},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "mq", Children: []netdev.Qdisc{{Kind: "fq"}, {Kind: "fq"}}}, ofFQ},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "fq_codel", Target: 10 * time.Millisecond}, ofAQM("fq_codel", 10*time.Millisecond)},
	} {
		got := expectOf(&netdev.Device{Role: test.role, Root: test.root})
		if got != test.want {
			t.Errorf("%s with %s: %+v, want %+v", test.role, test.root, got, test.want)
		}
		if got.delayWarning >= got.delayCritical || got.lossWarning >= got.lossCritical {
			t.Errorf("%s: a warning comes after the alarm: %+v", test.root.Kind, got)
		}
	}
}

// TestAnnotatedLimit says of a pod's limit whether its annotation asks for it.
func TestAnnotatedLimit(t *testing.T) {
	t.Parallel()
	got := load(t, "testdata/pod-limit-unlike-annotation.json").snapshots().diagnose().Findings[0].Evidence[0]
	want := "root qdisc of cali1 is tbf 1: rate 10Mbit burst 64Kb limit 165536b; the device's default is noqueue; the pod's annotation lets it receive 100 Mbit/s"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	d := netdev.Device{Role: netdev.RolePod, Bandwidth: 10_000_000, Root: netdev.Qdisc{Kind: "tbf", RateBits: 9_900_000, Limit: 200_000, Burst: 100_000}}
	if e := expectOf(&d); e.delayWarning < 0.1 || e.delayWarning > 0.15 || e.reason != "the pod's annotation lets it receive 10 Mbit/s and no more" {
		t.Errorf("100,000 bytes at 9.9 Mbit/s: %+v", e)
	}
}

// TestLookups is surer of a missing route where the routing table says so too.
func TestLookups(t *testing.T) {
	t.Parallel()
	e := load(t, "testdata/no-route-blackhole.json").snapshots()
	alone := e.diagnose().Findings[0]
	e.to.Lookups = []record.RouteLookup{{Destination: netip.MustParseAddr("10.2.0.7"), Result: "blackhole"}}
	both := e.diagnose().Findings[0]
	if both.Confidence <= alone.Confidence || !slices.Contains(both.Evidence, "the routing table says of 10.2.0.7: blackhole") {
		t.Errorf("confidence %v with a look-up, %v without: %q", both.Confidence, alone.Confidence, both.Evidence)
	}
}

func TestConfidence(t *testing.T) {
	t.Parallel()
	few, many := confidence(3, 1, &aggregate.Snapshot{}), confidence(1000, 1, &aggregate.Snapshot{})
	torn := confidence(1000, 0.2, &aggregate.Snapshot{})
	lossy := confidence(1000, 1, &aggregate.Snapshot{Records: 300, MissedRecords: 100})
	if !(few < many && torn < many && lossy < many) || many > 1 || few != 0.6 {
		t.Errorf("few %v, many %v, torn %v, lossy %v", few, many, torn, lossy)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for s, want := range map[float64]string{
		0.00002: "0.02 ms", 0.0000213: "0.021 ms", 0.00094: "0.94 ms", 0.0021: "2.1 ms", 0.5014: "501 ms",
		0.9999: "1000 ms", 1.52: "1.52 s", 18.23: "18.2 s", 250.4: "250 s", 0: "0 ms",
	} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%v) = %q, want %q", s, got, want)
		}
	}
	for share, want := range map[float64]string{0.1: "10 %", 0.0764: "7.6 %", 0.9999: ">99 %", 1: "100 %", 0.0002: "0.02 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %q, want %q", share, got, want)
		}
	}
	if got := group(1234567); got != "1,234,567" {
		t.Error(got)
	}
	want := []string{"one two", "threefour", "five"}
	if got := wrap("one two threefour five", 7); !slices.Equal(got, want) {
		t.Errorf("wrap: %q", got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe closed") }

func TestWriteTextFails(t *testing.T) {
	t.Parallel()
	r := Diagnose("", Snapshot{}, Snapshot{})
	if err := r.WriteText(broken{}, false); err == nil || !strings.Contains(err.Error(), "write report: pipe closed") {
		t.Errorf("got %v", err)
	}
}
