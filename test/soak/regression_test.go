package main

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// drawn is a series of an hour: a value a second, with noise and a growth over the hour.
func drawn(growth, noise float64, seed uint64) *series {
	random := rand.New(rand.NewPCG(seed, 1))
	var s series
	for i := range 3600 {
		s.add(time.Duration(i)*time.Second, 100+growth*float64(i)/3600+noise*random.NormFloat64())
	}
	return &s
}

func TestFit(t *testing.T) {
	t.Parallel()
	l := drawn(10, 0, 1).fit()
	if math.Abs(l.growth-10) > 0.01 || math.Abs(l.least-10) > 0.01 || math.Abs(l.mean-105) > 0.01 || l.low != 100 {
		t.Errorf("a line of 10 an hour is %+v", l)
	}
	for seed := range uint64(20) {
		if l := drawn(10, 5, seed).fit(); l.least < 8 || l.least > 10.5 {
			t.Errorf("10 an hour beneath noise are %+v", l)
		}
		if l := drawn(0, 5, seed).fit(); l.least > 0.5 {
			t.Errorf("noise grows by %+v", l)
		}
	}
}

// TestSawtooth: what rises and falls again, as a heap does, does not grow.
func TestSawtooth(t *testing.T) {
	t.Parallel()
	var s series
	for i := range 3600 {
		s.add(time.Duration(i)*time.Second, float64(i%131))
	}
	if l := s.fit(); l.least > 0 {
		t.Errorf("a sawtooth grows by %+v", l)
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	s := drawn(0, 0, 1).since(30 * time.Minute)
	if len(s.values) != 1800 || s.at[0] != 30*time.Minute {
		t.Errorf("%d values from %v", len(s.values), s.at[0])
	}
}
