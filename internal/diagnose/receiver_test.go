package diagnose

import (
	"testing"
	"time"
)

// TestLasts asks for a share of long windows, in which there are many bursts.
func TestLasts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		seconds, least uint64
		window         time.Duration
		want           bool
	}{
		{2, 2, 15 * time.Second, true},
		{1, 2, 5 * time.Second, false},
		{4, 4, 15 * time.Second, true},
		{59, 4, 10 * time.Minute, false},
		{60, 4, 10 * time.Minute, true},
	} {
		w := &window{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(test.window)}}
		if got := w.lasts(test.seconds, test.least); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
