package main

import (
	"slices"
	"testing"
)

func TestParseGoBenchmarks(t *testing.T) {
	t.Parallel()
	got, err := parseGoBenchmarks(`goos: linux
pkg: tracer/internal/aggregate
cpu: AMD EPYC
BenchmarkAdd/flows=1-2         	 1234567	       250.5 ns/op	       0 B/op	       0 allocs/op
BenchmarkSnapshot-2            	     100	   3000000 ns/op	  800000 B/op	    1200 allocs/op
PASS
ok  	tracer/internal/aggregate	3.1s
`)
	want := []goBenchmark{
		{Package: "aggregate", Name: "Add/flows=1", Ns: 250.5},
		{Package: "aggregate", Name: "Snapshot", Ns: 3e6, Bytes: 800_000, Allocs: 1200},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := parseGoBenchmarks("BenchmarkAdd 10 many ns/op\n"); err == nil {
		t.Error("a line that makes no sense was taken")
	}
}
