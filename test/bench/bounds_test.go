package main

import "testing"

func TestMedianBounds(t *testing.T) {
	t.Parallel()
	count := func(n int) (list []float64) {
		for i := range n {
			list = append(list, float64(n-i))
		}
		return list
	}
	for _, test := range []struct {
		samples   []float64
		low, high float64
	}{
		{count(4), 0, 0},
		{count(5), 1, 5},     // 1/32
		{count(8), 2, 7},     // 9/256; with the third it would be 37/256
		{count(20), 6, 15},   // 21,700/2^20; with the seventh 60,460
		{count(100), 42, 59}, // by tables of the binomial distribution
	} {
		low, high, ok := medianBounds(test.samples)
		if low != test.low || high != test.high || ok != (len(test.samples) > 4) {
			t.Errorf("%d samples: %v to %v, want %v to %v", len(test.samples), low, high, test.low, test.high)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	b := boundsOf([]float64{0.9, 1, 1.1, 1.2, 0.8})
	for _, test := range []struct {
		limit           float64
		atLeast, atMost string
	}{
		{0.7, holds, exceeded},
		{1, notShown, notShown},
		{1.3, exceeded, holds},
	} {
		if least, most := b.atLeast(test.limit), b.atMost(test.limit); least != test.atLeast || most != test.atMost {
			t.Errorf("%v: %s and %s, want %s and %s", test.limit, least, most, test.atLeast, test.atMost)
		}
	}
	if few := boundsOf([]float64{1, 2, 3}); few.atLeast(0) != notShown || few.atMost(9) != notShown {
		t.Error("three samples were enough for a verdict")
	}
}
