package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"tracer/internal/diagnose"
)

const (
	// snapshotEvery is the distance of the snapshots that are kept, and so how exactly a window can begin. Of those older
	// than recent it is oldSnapshotEvery, since they are most of our memory.
	snapshotEvery    = 5 * time.Second
	oldSnapshotEvery = 15 * time.Second
	recent           = 20 * time.Second
	// historyTick is how often it is asked whether a snapshot is due.
	historyTick = time.Second
	// historyLength bounds the window that can be looked back at.
	historyLength = time.Minute
)

// keepHistory takes the snapshots of the history, and diagnoses the window before each.
func (a *Agent) keepHistory(ctx context.Context) error {
	ticker := time.NewTicker(historyTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			a.saveBaseline()
			return nil
		case now := <-ticker.C:
			if !a.history.due(now) {
				continue
			}
			a.flowWindow.forget(now)
			s, err := a.completeSnapshot(a.counts.SnapshotWithoutFlows)
			a.failures.snapshot.Done(err)
			if err != nil {
				continue
			}
			a.trends.add(s.Counts.Since(a.history.last().Counts))
			a.history.add(s)
			a.diagnoseAt(s)
			if now.Sub(a.baseline.saved) >= saveBaselineEvery { // this goroutine's alone
				a.baseline.saved = now
				a.saveBaseline()
			}
		}
	}
}

// history keeps the snapshots of the last minute. It holds at least one.
type history struct {
	mu        sync.Mutex
	snapshots []diagnose.Snapshot
}

// due tells whether it is time for another one: at the tick nearest to it, since a snapshot is taken a little after its tick.
func (h *history) due(now time.Time) bool {
	return now.Sub(h.last().Taken) >= snapshotEvery-historyTick/2
}

// last is the snapshot added last.
func (h *history) last() diagnose.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.snapshots[len(h.snapshots)-1]
}

// add keeps a snapshot. It comes without its flows: a window is diagnosed by pairs, and thousands of flows each time
// would be most of our memory.
func (h *history) add(s diagnose.Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	dense := tooDense(s.Taken)
	h.snapshots = slices.DeleteFunc(append(h.snapshots, s), func(x diagnose.Snapshot) bool { // which keeps nothing of them
		return s.Taken.Sub(x.Taken) > historyLength || dense(x)
	})
}

// tooDense returns a function that tells of each snapshot in turn whether one that is kept is too near before it.
func tooDense(now time.Time) func(diagnose.Snapshot) bool {
	var kept time.Time
	return func(s diagnose.Snapshot) bool {
		if now.Sub(s.Taken) > recent && s.Taken.Sub(kept) < oldSnapshotEvery-snapshotEvery/2 {
			return true
		}
		kept = s.Taken
		return false
	}
}

// before is the latest snapshot not after t, or the earliest there is.
func (h *history) before(t time.Time) diagnose.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	best := h.snapshots[0]
	for _, s := range h.snapshots {
		if !s.Taken.After(t) {
			best = s
		}
	}
	return best
}
