package trace

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/golden"
	"tracer/internal/journey"
	"tracer/internal/record"
	"tracer/internal/trace/tracetest"
)

func traceOf(t testing.TB, rec record.Record) Trace {
	t.Helper()
	got, err := New(&rec, journey.NewDevices(testDevices()), cluster, noon)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFinishedTrace(t *testing.T) {
	t.Parallel()
	got, err := json.MarshalIndent(traceOf(t, tracetest.Request(record.Finished)), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/trace.json", append(got, '\n'))

	var back Trace
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if want := traceOf(t, tracetest.Request(record.Finished)); !reflect.DeepEqual(back, want) {
		t.Errorf("read back\n%+v\nwant\n%+v", back, want)
	}
}

func TestTraceKinds(t *testing.T) {
	t.Parallel()
	dropped := traceOf(t, tracetest.Request(record.Dropped))
	key := aggregate.DropKey{
		StageKey: aggregate.StageKey{Stage: journey.Queue, Device: "tunl0", Direction: journey.Out}, Reason: "QDISC_DROP", Location: "__dev_queue_xmit", Loss: true,
	}
	want := Drop{Stage: journey.Queue, Device: "tunl0", Reason: "QDISC_DROP", Location: "__dev_queue_xmit", Loss: true, key: key}
	if dropped.Drop == nil || *dropped.Drop != want || dropped.Drop.Key() != key {
		t.Errorf("drop %+v", dropped.Drop)
	}
	if dropped.At == nil || dropped.At.Seconds != 5e-6 || dropped.TotalSeconds != 25e-6 || len(dropped.Stages) != 1 {
		t.Errorf("dropped %+v, at %+v", dropped, dropped.At)
	}
	open := traceOf(t, tracetest.Request(record.InFlight))
	if want := (Stage{Stage: journey.Queue, Device: "tunl0", Seconds: 3}); open.At == nil || *open.At != want || open.Kind != "open" {
		t.Errorf("open at %+v", open.At)
	}
	if open.Drop != nil || open.TotalSeconds != 3.00002 {
		t.Errorf("open %+v", open)
	}
	quiet := tracetest.Request(record.Dropped)
	quiet.Reason = "SKB_CONSUMED"
	if got := traceOf(t, quiet); got.Drop == nil || got.Drop.Loss {
		t.Errorf("no loss, but %+v", got.Drop)
	}
	silent := tracetest.Request(record.Dropped)
	silent.Reason = ""
	if got := traceOf(t, silent); got.Drop.Reason != journey.NotSpecified {
		t.Errorf("without a reason: %+v", got.Drop)
	}
	// A drop of which nothing is known but the flow.
	bare := record.Record{Kind: record.Dropped, Time: time.Minute, First: silent.First, Last: silent.First, Reason: "IP_NOPROTO"}
	got := traceOf(t, bare)
	if got.Time != noon.Add(time.Minute) || len(got.Hooks) != 0 || got.Drop == nil || got.Drop.Device != "" || got.Drop.Stage != journey.Unknown {
		t.Errorf("bare drop %+v: %+v", got, got.Drop)
	}
	// Every one is one line with lists, not null.
	for _, trace := range []Trace{dropped, open, got} {
		line, err := json.Marshal(trace)
		if err != nil || strings.Contains(string(line), `"hooks":null`) || strings.Contains(string(line), `"stages":null`) {
			t.Errorf("%s, %v", line, err)
		}
	}
}

func TestTraceNames(t *testing.T) {
	t.Parallel()
	unknown := tracetest.Request(record.Finished)
	unknown.First = tracetest.Flow("192.0.2.1:1", "[2001:db8::1]:2")
	unknown.Last = unknown.First
	unknown.First.Protocol, unknown.Last.Protocol = 89, record.ProtocolICMPv6
	got := traceOf(t, unknown)
	if want := (aggregate.Identity{Workload: "_unknown"}); got.Src != want || got.Dst != want || got.Service != "" {
		t.Errorf("nobody is %+v to %+v by %q", got.Src, got.Dst, got.Service)
	}
	if want := (Flow{"192.0.2.1", "2001:db8::1", "89"}); got.First != want {
		t.Errorf("flow without ports %+v", got.First)
	}
	if got.Last.Protocol != "icmpv6" {
		t.Errorf("protocol %q", got.Last.Protocol)
	}
	virtual := tracetest.Request(record.InFlight) // not translated yet
	virtual.Last = virtual.First
	if got := traceOf(t, virtual); got.Service != "default/api" || got.Dst.Workload != "_unknown" {
		t.Errorf("untranslated: %q, %+v", got.Service, got.Dst)
	}
}

func TestTraceOfNoPath(t *testing.T) {
	t.Parallel()
	rec := tracetest.Request(record.Finished)
	rec.Hops[1].Ifindex = 99
	if _, err := New(&rec, journey.NewDevices(testDevices()), cluster, noon); !errors.Is(err, journey.ErrDevice) {
		t.Errorf("unknown device: %v", err)
	}
}
