package trace

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"tracer/internal/filter"
	"tracer/internal/journey"
	"tracer/internal/record"
	"tracer/internal/trace/tracetest"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	finished, dropped, freed := tracetest.Request(record.Finished), tracetest.Request(record.Dropped), tracetest.Request(record.Dropped)
	freed.Reason = "SKB_CONSUMED"
	devices := journey.NewDevices(testDevices())
	for _, test := range []struct {
		filter Filter
		rec    *record.Record
		want   bool
	}{
		{Filter{}, &finished, true},
		{Filter{}, &freed, true},
		{Filter{Pod: "web-1"}, &finished, true},
		{Filter{Pod: "default/web-1"}, &finished, true},
		{Filter{Pod: "kube-system/web-1"}, &finished, false},
		{Filter{Pod: "web"}, &finished, true},
		{Filter{Pod: "api-1"}, &finished, true},
		{Filter{Pod: "we"}, &finished, false},
		{Filter{Pod: "10.244.1.2"}, &finished, true},
		{Filter{Pod: "10.96.0.10"}, &finished, true},
		{Filter{Pod: "10.244.1.20"}, &finished, false},
		{Filter{Pod: "default/api"}, &finished, true},
		{Filter{Pod: "web-1", Peer: "api"}, &finished, true},
		{Filter{Pod: "api", Peer: "web-1"}, &finished, true},
		{Filter{Pod: "web-1", Peer: "web"}, &finished, false}, // two names of one end
		{Filter{Peer: "api-1"}, &finished, true},
		{Filter{Peer: "db"}, &finished, false},
		{Filter{Workload: "web"}, &finished, true},
		{Filter{Workload: "default/api"}, &finished, true},
		{Filter{Workload: "web-1"}, &finished, false}, // a pod's name
		{Filter{Workload: "api", Peer: "db"}, &finished, false},
		{Filter{Port: 80}, &finished, true},
		{Filter{Port: 8080}, &finished, true},
		{Filter{Port: 4000}, &finished, true},
		{Filter{Port: 443}, &finished, false},
		{Filter{Protocol: record.ProtocolTCP}, &finished, true},
		{Filter{Protocol: record.ProtocolUDP}, &finished, false},
		{Filter{Device: "tunl0"}, &finished, true},
		{Filter{Device: "cali1"}, &finished, true},
		{Filter{Device: "pod"}, &finished, true},
		{Filter{Device: "cali2"}, &finished, false},
		{Filter{Stage: StageFilter{Stage: journey.Queue}}, &finished, true},
		{Filter{Stage: StageFilter{Stage: journey.Queue, LongerThan: 499 * time.Millisecond}}, &finished, true},
		{Filter{Stage: StageFilter{Stage: journey.Queue, LongerThan: 501 * time.Millisecond}}, &finished, false},
		{Filter{Stage: StageFilter{Stage: journey.Queue, Device: "tunl0", LongerThan: time.Millisecond}}, &finished, true},
		{Filter{Stage: StageFilter{Stage: journey.Queue, Device: "eth0", LongerThan: time.Millisecond}}, &finished, false},
		{Filter{Stage: StageFilter{Stage: journey.Decap}}, &finished, false},
		{Filter{Stage: StageFilter{Stage: journey.Queue}}, &dropped, true}, // where it ended
		{Filter{Stage: StageFilter{Stage: journey.Encap}}, &dropped, false},
		{Filter{SlowerThan: 500 * time.Millisecond}, &finished, true},
		{Filter{SlowerThan: 501 * time.Millisecond}, &finished, false},
		{Filter{SlowerThan: 500 * time.Millisecond}, &dropped, false},
		{Filter{SlowerThan: 500 * time.Millisecond, OrLost: true}, &dropped, true},
		{Filter{SlowerThan: 500 * time.Millisecond, OrLost: true}, &freed, false},
		{Filter{SlowerThan: 500 * time.Millisecond, OrLost: true}, &finished, true},
		{Filter{SlowerThan: 501 * time.Millisecond, OrLost: true}, &finished, false},
		{Filter{SlowerThan: 500 * time.Millisecond, OrLost: true, Port: 443}, &dropped, false},
		{Filter{DropsOnly: true}, &finished, false},
		{Filter{DropsOnly: true}, &dropped, true},
		{Filter{DropsOnly: true}, &freed, false},
		{Filter{DropsOnly: true, Port: 80, Pod: "web", Device: "tunl0"}, &dropped, true},
	} {
		if got, err := test.filter.Matcher(cluster).Match(test.rec, devices); got != test.want || err != nil {
			t.Errorf("%+v of a %s: %v, %v", test.filter, test.rec.Kind, got, err)
		}
	}
	// Whether an unknown device matters depends on what is asked.
	none := journey.NewDevices(nil)
	if ok, err := (Filter{Pod: "web"}).Matcher(cluster).Match(&finished, none); !ok || err != nil {
		t.Errorf("by name, without devices: %v, %v", ok, err)
	}
	if _, err := (Filter{Device: "tunl0"}).Matcher(cluster).Match(&finished, none); !errors.Is(err, journey.ErrDevice) {
		t.Errorf("by device, without devices: %v", err)
	}
}

// A filter runs for every record of the node.
func TestMatchDoesNotAllocate(t *testing.T) {
	rec, devices := tracetest.Request(record.Finished), journey.NewDevices(testDevices())
	m := Filter{
		Pod: "default/web-1", Peer: "10.244.2.3", Workload: "api", Port: 80, Device: "tunl0", SlowerThan: time.Millisecond,
		Stage: StageFilter{Stage: journey.Queue, LongerThan: time.Millisecond},
	}.Matcher(cluster)
	if n := testing.AllocsPerRun(100, func() {
		if ok, err := m.Match(&rec, devices); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for _, f := range []Filter{
		{},
		{
			Pod: "default/web-1", Peer: "10.0.0.1", Workload: "api", Port: 65535, Protocol: 89, Device: "tunl0",
			Stage: StageFilter{journey.Queue, "tunl0", 1500 * time.Microsecond}, SlowerThan: 1500 * time.Microsecond, DropsOnly: true,
		},
		{Pod: "a&b=c d", Protocol: record.ProtocolUDP},
		{SlowerThan: time.Second, OrLost: true, Headers: true},
	} {
		query, err := url.ParseQuery(f.Values().Encode())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseQuery(query); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v came back as %+v, %v", f, got, err)
		}
	}
	if n := len(Filter{}.Values()); n != 0 {
		t.Errorf("the zero filter has %d values", n)
	}
	for query, want := range map[string]string{
		"port=65536":       "port",
		"port=http":        "port",
		"proto=telnet":     "telnet",
		"proto=0":          "no protocol",
		"stage=queu":       "there are pod-queue, forward, queue",
		"slower_than=5":    "slower_than",
		"drops=maybe":      "drops",
		"pods=web":         `unknown key "pods"; there are requests, pod, peer`,
		"pod=web&pod=api":  "2 times",
		"device=a&port=-1": "port",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := ParseQuery(values); err == nil || !strings.Contains(err.Error(), want) || f != (Filter{}) {
			t.Errorf("%s: %+v, %v", query, f, err)
		}
	}
}

func TestStageFilter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]StageFilter{
		"queue":              {Stage: journey.Queue},
		"queue>10ms":         {Stage: journey.Queue, LongerThan: 10 * time.Millisecond},
		"queue @tunl0 > 1s":  {Stage: journey.Queue, Device: "tunl0", LongerThan: time.Second},
		"encap@vxlan.calico": {Stage: journey.Encap, Device: "vxlan.calico"},
	} {
		var got StageFilter
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, at := range map[string]int{"": 0, "qeue>1ms": 0, "queue>10": 6, "queue@>10ms": 6, "queue@tunl0>-1s": 12} {
		got := StageFilter{Stage: journey.Encap}
		err := got.Set(text)
		if syntax, ok := errors.AsType[*filter.SyntaxError](err); !ok || syntax.At != at || got.Stage != journey.Encap {
			t.Errorf("%q: %v, %+v", text, err, got)
		}
	}
	err := new(StageFilter).Set("queue>10")
	if want := "\"10\" is no time; give one with its unit, such as 10ms\n  queue>10\n        ^"; err.Error() != want {
		t.Errorf("%s, want %s", err, want)
	}
}

func TestFilterText(t *testing.T) {
	t.Parallel()
	if text := (Filter{}).String(); text != "" {
		t.Errorf("%q", text)
	}
	f := Filter{Pod: "default/web", Port: 80, DropsOnly: true, Headers: true}
	if text := f.String(); text != "drops=true pod=default/web port=80" {
		t.Errorf("%q", text)
	}
}
