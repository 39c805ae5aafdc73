package agent

import (
	"testing"
	"time"

	"tracer/internal/diagnose"
)

// TestSnapshotsAreOnTime: a snapshot is taken a little after its tick, and that does not make the next one a tick later.
func TestSnapshotsAreOnTime(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	h := history{snapshots: []diagnose.Snapshot{{Taken: begin}}}
	taken := 0
	for tick := begin.Add(historyTick); !tick.After(begin.Add(historyLength)); tick = tick.Add(historyTick) {
		if h.due(tick) {
			taken++
			h.add(diagnose.Snapshot{Taken: tick.Add(historyTick / 50)})
		}
	}
	if want := int(historyLength / snapshotEvery); taken != want {
		t.Errorf("%d snapshots in %v, not %d", taken, historyLength, want)
	}
}

// TestHistory keeps snapshots for ten minutes and looks back: not later than asked, and hardly earlier.
func TestHistory(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	h := history{snapshots: []diagnose.Snapshot{{Taken: begin}}}
	now := begin
	for range 120 {
		now = now.Add(snapshotEvery + 10*time.Millisecond)
		if !h.due(now) {
			t.Fatalf("nothing is due after %v", snapshotEvery)
		}
		h.add(diagnose.Snapshot{Taken: now})
	}
	if n := len(h.snapshots); n < 6 || n > 9 {
		t.Errorf("%d snapshots are kept", n)
	}
	for _, test := range []struct{ window, slack time.Duration }{
		{5 * time.Second, snapshotEvery + time.Second}, {15 * time.Second, snapshotEvery + time.Second}, {45 * time.Second, oldSnapshotEvery + time.Second},
	} {
		if got := now.Sub(h.before(now.Add(-test.window)).Taken); got < test.window || got > test.window+test.slack {
			t.Errorf("asked for the last %v, got the last %v", test.window, got)
		}
	}
}
