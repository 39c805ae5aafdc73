package overview

import (
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/filter"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                           {"web", "api", "nightly-report", "checkout", "checkout", "metrics"},
		"web":                        {"web", "api"}, // either end
		"src=WEB":                    {"web"},
		"dst=api":                    {"web", "metrics"},
		"shop/cart":                  {"checkout"},
		"service=kube-dns":           {"checkout"},
		"dir=in":                     {"api"},
		"dir=local pps>4":            {"checkout"},
		"device=eth0":                {"web", "nightly-report"},
		"stage=decap":                {"api"},
		"worst=queue":                {"web", "metrics"},
		"reason=qdisc":               {"web"},
		"p99>10ms":                   {"web"},
		"p50<1ms  pps>=50":           {"api", "nightly-report"},
		"bps>=200k":                  {"web", "api", "nightly-report"},
		"drops>0":                    {"web"},
		"held>0 age<400ms":           {"metrics"},
		"held=35":                    {"web"},
		"src=web\tp99>10ms\u00a0":    {"web"},
		"nobody":                     {},
		"web p99>10ms drops>0 dir=o": {"web"},
	} {
		var got []string
		for _, r := range Build(story(), query(t, ByPair, text, "")).Rows {
			got = append(got, r.Src.Workload)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q leaves %v, want %v", text, got, want)
		}
	}
	if flows := Build(story(), query(t, ByFlow, ":8080 proto=udp", "")).Rows; len(flows) != 1 {
		t.Errorf("by port: %+v", flows)
	}
}

func TestFilterErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		at   int
		part string
	}{
		"web p98>10ms":    {4, "there are age, bps, device"},
		"web p99>10":      {8, "10ms"},
		"pps>many":        {4, "k, M and G"},
		"p99>":            {4, "missing after p99>"},
		"src>web":         {3, "by = alone"},
		" web  device>=x": {12, "by = alone"},
		"=x":              {0, "no field"},
		"web\nsrc=\t":     {8, "missing after src="},
	} {
		_, err := ParseFilter(text)
		syntax, ok := errors.AsType[*filter.SyntaxError](err)
		if !ok || syntax.At != want.at || !strings.Contains(syntax.Problem, want.part) {
			t.Errorf("%q: %v, want %q at %d", text, err, want.part, want.at)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	full := query(t, ByFlow, "web p99>10ms", "-p99")
	full.Interval, full.Limit, full.Pair = 500*time.Millisecond, 20, &webToAPI
	for _, q := range []Query{full, {By: ByDevice, Interval: time.Second}} {
		values, err := url.ParseQuery(q.Values().Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseQuery(values)
		if err != nil || got.Filter.String() != q.Filter.String() || len(got.Filter.terms) != len(q.Filter.terms) {
			t.Errorf("%+v came back as %+v, %v", q, got, err)
		}
		got.Filter, q.Filter = Filter{}, Filter{}
		if !reflect.DeepEqual(got, q) {
			t.Errorf("%+v came back as %+v", q, got)
		}
	}
	for text, want := range map[string]string{
		"by=cow": "choose pair", "interval=1ms": "not between", "interval=soon": "soon", "filter=p99>x": "no time", "sort=jitter": "choose pain",
		"limit=-1": "is negative", "pair=web": "not namespace", "cow=1": "unknown key",
	} {
		values, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseQuery(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
