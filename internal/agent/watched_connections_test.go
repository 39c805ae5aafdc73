package agent

import "testing"

func TestNextOneIn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		oneIn          uint64
		requests, full float64
		want           uint64
	}{
		{1, 0, 0, 1},
		{1, maxRequests + 1, 0, 2},
		{1, 0, 0.45, 2},
		{8, maxRequests / 2, 0.1, 8},
		{8, 100, 0.2, 8},
		{8, 100, 0.1, 4},
		{leastWatched, maxRequests + 1, 1, leastWatched},
	} {
		if got := nextOneIn(test.oneIn, test.requests, test.full); got != test.want {
			t.Errorf("one in %d, %v requests a second, %v full: next one in %d, want %d", test.oneIn, test.requests, test.full, got, test.want)
		}
	}
}
