package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// trafficResult is how a mode changes the rate of a workload.
type trafficResult struct {
	Workload string  `json:"workload"`
	Mode     string  `json:"mode"`
	Rate     float64 `json:"rate"` // the median
	Unit     string  `json:"unit"`
	Ratio    float64 `json:"ratio"`  // to no tracer's rate in the same round: below 1 is slower; the median
	Spread   float64 `json:"spread"` // of the ratios: the width of the middle half
	bounds
	Limit   *float64 `json:"limit"`             // the least that the ratio may be
	Verdict string   `json:"verdict,omitempty"` // of the limit
}

// measureTraffic runs all workloads in all modes, in rounds: both sides of a ratio met the same machine within
// seconds. The order changes from round to round, so that no mode is always the one after another.
func measureTraffic(ctx context.Context, o *overlay, watch, budget time.Duration, say func(string, ...any)) ([]trafficResult, error) {
	loads, modes := kinds(), modes()
	rates := make([][][]float64, len(loads)) // by load, mode, round
	for i := range rates {
		rates[i] = make([][]float64, len(modes))
	}
	start := time.Now()
	for round := 0; ; round++ {
		for turn := range modes {
			m := (turn + round) % len(modes)
			if err := modes[m].measure(ctx, o, loads, watch, func(load int, rate float64) {
				rates[load][m] = append(rates[load][m], rate)
			}); err != nil {
				return nil, err
			}
		}
		spent := time.Since(start)
		if spent+spent/time.Duration(round+1) > budget {
			say("%d rounds of traffic in %v", round+1, spent.Round(time.Second))
			break
		}
	}
	var results []trafficResult
	for l := range loads {
		for m := range modes {
			results = append(results, newTrafficResult(&loads[l], &modes[m], rates[l][m], rates[l][0]))
		}
	}
	return results, nil
}

// measure runs all workloads in one mode.
func (m *mode) measure(ctx context.Context, o *overlay, loads []workload, watch time.Duration, take func(load int, rate float64)) (err error) {
	tracer, err := m.start(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	defer func() { err = errors.Join(err, tracer.Close()) }()
	for i := range loads {
		rate, err := loads[i].run(ctx, o, watch)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		take(i, rate)
	}
	return nil
}

func newTrafficResult(w *workload, m *mode, rates, without []float64) trafficResult {
	ratios := make([]float64, len(rates))
	for round := range rates {
		ratios[round] = rates[round] / without[round]
	}
	q := quartilesOf(ratios)
	r := trafficResult{
		Workload: w.name, Mode: m.name, Unit: w.unit, Rate: math.Round(quartilesOf(slices.Clone(rates)).median),
		Ratio: thousandths(q.median), Spread: thousandths(q.spread()),
	}
	r.bounds = boundsOf(ratios)
	if lower, ok := m.lower[w.name]; ok {
		limit := 1 - lower
		r.Limit, r.Verdict = &limit, r.atLeast(limit)
	}
	return r
}

func thousandths(x float64) float64 { return math.Round(x*1000) / 1000 }
