package agent

import (
	"sync"
	"time"

	"tracer/internal/diagnose"
)

// flowWindow is where the next window of flows may begin: at a snapshot with flows that somebody asked for lately. Who asks again and again,
// as the page of a cluster does, has the window since the time before at once. It is kept for a while only, as flows are most of a snapshot.
type flowWindow struct {
	mu   sync.Mutex
	from *diagnose.Snapshot // nil if nobody has asked lately
}

// maxFlowWindow is how long ago a window of flows may have begun before it was asked for. At least it is firstFlowsWindow.
const maxFlowWindow = 20 * time.Second

// begin is where a window begins that is asked for now; nil if it has to begin now.
func (w *flowWindow) begin(now time.Time) *diagnose.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.from == nil || now.Sub(w.from.Taken) < firstFlowsWindow || now.Sub(w.from.Taken) > maxFlowWindow {
		return nil
	}
	return w.from
}

// add is told of each snapshot with flows. Of streams with short intervals it keeps one from time to time, so that windows stay long.
func (w *flowWindow) add(s diagnose.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.from == nil || s.Taken.Sub(w.from.Taken) >= snapshotEvery {
		w.from = &s
	}
}

// forget drops what no window begins at any more.
func (w *flowWindow) forget(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.from != nil && now.Sub(w.from.Taken) > maxFlowWindow {
		w.from = nil
	}
}
