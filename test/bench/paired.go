package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// trafficResult is how a mode changes the rate of a workload, or its time.
type trafficResult struct {
	Workload string  `json:"workload"`
	Mode     string  `json:"mode"`
	Rate     float64 `json:"rate"` // the median
	Unit     string  `json:"unit"`
	Ratio    float64 `json:"ratio"`    // to no tracer's rate in the same round: below 1 is slower; the median
	OfEmpty  float64 `json:"of_empty"` // to that of emptyOnDevices, likewise; the next are of these ratios
	Spread   float64 `json:"spread"`   // the width of the middle half
	bounds
	Limit   *float64 `json:"limit"`             // the least that OfEmpty may be; of a time the most
	Verdict string   `json:"verdict,omitempty"` // of the limit
}

// measureTraffic runs all workloads in all modes, in rounds: both sides of a ratio met the same machine within
// seconds. The order changes from round to round, so that no mode is always the one after another.
func measureTraffic(ctx context.Context, o *overlay, other *peer, watch, budget time.Duration, say func(string, ...any)) ([]trafficResult, error) {
	loads, modes := kinds(), modes(other)
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
				setPace(loads, &loads[load], rate)
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
			results = append(results, newTrafficResult(&loads[l], &modes[m], rates[l][m], rates[l][0], rates[l][1]))
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

func newTrafficResult(w *workload, m *mode, rates, without, empty []float64) trafficResult {
	ratios, ofEmpty := quotients(rates, without), quotients(rates, empty)
	q := quartilesOf(ofEmpty)
	r := trafficResult{
		Workload: w.name, Mode: m.name, Unit: w.unit, Rate: math.Round(quartilesOf(slices.Clone(rates)).median),
		Ratio: thousandths(quartilesOf(ratios).median), OfEmpty: thousandths(q.median), Spread: thousandths(q.spread()),
	}
	r.bounds = boundsOf(ofEmpty)
	if limit, ok := m.limits[w.name]; ok {
		r.Limit, r.Verdict = &limit, r.atLeast(limit)
		if w.paced {
			r.Verdict = r.atMost(limit)
		}
	}
	return r
}

// quotients are those of each round.
func quotients(rates, of []float64) []float64 {
	ratios := make([]float64, len(rates))
	for round := range rates {
		ratios[round] = rates[round] / of[round]
	}
	return ratios
}

func thousandths(x float64) float64 { return math.Round(x*1000) / 1000 }
