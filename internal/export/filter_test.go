package export

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"tracer/internal/record"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	finished, dropped := traceOf(t, request(record.Finished)), traceOf(t, request(record.Dropped))
	freed := request(record.Dropped)
	freed.Reason = "SKB_CONSUMED"
	noise := traceOf(t, freed)
	for _, test := range []struct {
		filter TraceFilter
		trace  *Trace
		want   bool
	}{
		{TraceFilter{}, &finished, true},
		{TraceFilter{}, &noise, true},
		{TraceFilter{Pod: "web-1"}, &finished, true},
		{TraceFilter{Pod: "default/web-1"}, &finished, true},
		{TraceFilter{Pod: "kube-system/web-1"}, &finished, false},
		{TraceFilter{Pod: "web"}, &finished, true},
		{TraceFilter{Pod: "api-1"}, &finished, true},
		{TraceFilter{Pod: "we"}, &finished, false},
		{TraceFilter{Pod: "10.244.1.2"}, &finished, true},
		{TraceFilter{Pod: "10.96.0.10"}, &finished, true},
		{TraceFilter{Pod: "10.244.1.20"}, &finished, false},
		{TraceFilter{Pod: "default/api"}, &finished, true},
		{TraceFilter{Pod: "web-1", Peer: "api"}, &finished, true},
		{TraceFilter{Pod: "api", Peer: "web-1"}, &finished, true},
		{TraceFilter{Pod: "web-1", Peer: "web"}, &finished, false}, // two names of one end
		{TraceFilter{Peer: "api-1"}, &finished, true},
		{TraceFilter{Peer: "db"}, &finished, false},
		{TraceFilter{Port: 80}, &finished, true},
		{TraceFilter{Port: 8080}, &finished, true},
		{TraceFilter{Port: 4000}, &finished, true},
		{TraceFilter{Port: 443}, &finished, false},
		{TraceFilter{Device: "tunl0"}, &finished, true},
		{TraceFilter{Device: "cali1"}, &finished, true},
		{TraceFilter{Device: "pod"}, &finished, true},
		{TraceFilter{Device: "cali2"}, &finished, false},
		{TraceFilter{SlowerThan: 500 * time.Millisecond}, &finished, true},
		{TraceFilter{SlowerThan: 501 * time.Millisecond}, &finished, false},
		{TraceFilter{DropsOnly: true}, &finished, false},
		{TraceFilter{DropsOnly: true}, &dropped, true},
		{TraceFilter{DropsOnly: true}, &noise, false},
		{TraceFilter{DropsOnly: true, Port: 80, Pod: "web", Device: "tunl0"}, &dropped, true},
	} {
		if got := test.filter.Match(test.trace); got != test.want {
			t.Errorf("%+v of a %s: %v", test.filter, test.trace.Kind, got)
		}
	}
}

// What the record alone is refused for, its trace is too.
func TestWantsAgreesWithMatch(t *testing.T) {
	t.Parallel()
	for _, kind := range []record.Kind{record.Finished, record.Dropped, record.Open} {
		rec := request(kind)
		trace := traceOf(t, rec)
		for _, f := range []TraceFilter{
			{}, {DropsOnly: true}, {Port: 80}, {Port: 443}, {SlowerThan: time.Microsecond}, {SlowerThan: time.Second},
			{SlowerThan: time.Minute}, {Port: 8080, DropsOnly: true, SlowerThan: 25 * time.Microsecond},
		} {
			if got, want := f.wants(&rec), f.Match(&trace); got != want {
				t.Errorf("%+v of %v: wants %v, matches %v", f, kind, got, want)
			}
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for _, f := range []TraceFilter{
		{},
		{Pod: "default/web-1", Peer: "10.0.0.1", Port: 65535, Device: "tunl0", SlowerThan: 1500 * time.Microsecond, DropsOnly: true},
		{Pod: "a&b=c d"},
	} {
		query, err := url.ParseQuery(f.Values().Encode())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseQuery(query); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v came back as %+v, %v", f, got, err)
		}
	}
	if n := len(TraceFilter{}.Values()); n != 0 {
		t.Errorf("the zero filter has %d values", n)
	}
	for query, want := range map[string]string{
		"port=65536":       "port",
		"port=http":        "port",
		"slower_than=5":    "slower_than",
		"drops=maybe":      "drops",
		"pods=web":         `unknown key "pods"; there are pod, peer`,
		"pod=web&pod=api":  "2 times",
		"device=a&port=-1": "port",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := ParseQuery(values); err == nil || !strings.Contains(err.Error(), want) || f != (TraceFilter{}) && strings.HasPrefix(query, "pod") {
			t.Errorf("%s: %+v, %v", query, f, err)
		}
	}
}
