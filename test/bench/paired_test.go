package main

import (
	"testing"
	"time"
)

// TestVerdict has a machine whose rate doubles and halves, which must not matter, and noise, which must.
func TestVerdict(t *testing.T) {
	t.Parallel()
	w := workload{name: "load"}
	m := mode{name: "mode", limits: map[string]float64{"load": 0.95, "time": 1.05}}
	without := []float64{100, 200, 50, 100, 400, 100, 300, 100}
	times := func(ratios ...float64) (rates []float64) {
		for i := range without {
			rates = append(rates, without[i]*ratios[i%len(ratios)])
		}
		return rates
	}
	for _, test := range []struct {
		rates   []float64
		ratio   float64
		verdict string
	}{
		{times(0.97, 0.98), 0.975, holds},
		{times(0.90, 0.92), 0.91, exceeded},
		{times(0.90, 1.04), 0.97, notShown},
	} {
		r := newTrafficResult(&w, &m, test.rates, times(2), without)
		if r.Ratio != thousandths(test.ratio/2) || r.OfEmpty != test.ratio || r.Verdict != test.verdict || *r.Limit != 0.95 {
			t.Errorf("%+v, want a ratio of %v and %q", r, test.ratio, test.verdict)
		}
	}
	for ratio, want := range map[float64]string{1.04: holds, 1.06: exceeded} {
		if r := newTrafficResult(&workload{name: "time", paced: true}, &m, times(ratio), without, without); r.Verdict != want {
			t.Errorf("a time that is %v as long: %q, want %q", ratio, r.Verdict, want)
		}
	}
	if r := newTrafficResult(&w, &mode{name: "free"}, without, without, without); r.Ratio != 1 || r.Limit != nil || r.Verdict != "" {
		t.Errorf("no limit: %+v", r)
	}
}

// TestMeasureTraffic has one round of each workload in each mode.
func TestMeasureTraffic(t *testing.T) {
	t.Parallel()
	results, err := measureTraffic(t.Context(), testOverlay(t), nil, 100*time.Millisecond, time.Nanosecond, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(kinds()) * len(modes(nil)); len(results) != want {
		t.Fatalf("%d results, want %d", len(results), want)
	}
	for _, r := range results {
		t.Logf("%-24s %-16s %10.0f %s, ratio %v", r.Workload, r.Mode, r.Rate, r.Unit, r.Ratio)
		if r.Rate <= 0 || r.Ratio <= 0 {
			t.Errorf("%+v", r)
		}
		if r.Mode == noTracer && r.Ratio != 1 {
			t.Errorf("with no tracer the ratio is %v", r.Ratio)
		}
	}
}
