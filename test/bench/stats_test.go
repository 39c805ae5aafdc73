package main

import "testing"

func TestQuartiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		samples []float64
		want    quartiles
	}{
		{[]float64{7}, quartiles{7, 7, 7}},
		{[]float64{4, 2}, quartiles{2.5, 3, 3.5}},
		{[]float64{50, 10, 40, 20, 30}, quartiles{20, 30, 40}},
	} {
		if got := quartilesOf(test.samples); got != test.want {
			t.Errorf("%v of %v, want %v", got, test.samples, test.want)
		}
	}
	if spread := (quartiles{1, 2, 5}).spread(); spread != 4 {
		t.Errorf("spread %v, want 4", spread)
	}
}
