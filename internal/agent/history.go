package agent

import (
	"slices"
	"sync"
	"time"

	"tracer/internal/diagnose"
)

const (
	// keepEvery is the distance of the moments that are kept, and so how exactly a window can begin: of those older
	// than young it is keepOldEvery, since they are most of our memory.
	keepEvery    = 5 * time.Second
	keepOldEvery = 15 * time.Second
	young        = 20 * time.Second
	// keepFor bounds the window that can be looked back at.
	keepFor = time.Minute
)

// history keeps the moments of the last minutes. It holds at least one.
type history struct {
	mu      sync.Mutex
	moments []diagnose.Snapshot
}

func (h *history) due(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Sub(h.moments[len(h.moments)-1].Taken) >= keepEvery
}

// last is the moment added last.
func (h *history) last() diagnose.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moments[len(h.moments)-1]
}

// add keeps a moment. It comes without its flows: a window is judged by pairs, and thousands of flows each time would
// be most of our memory.
func (h *history) add(m diagnose.Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.moments) > 0 && m.Taken.Sub(h.moments[0].Taken) > keepFor {
		h.moments = h.moments[1:]
	}
	h.moments = slices.DeleteFunc(append(h.moments, m), h.dense(m.Taken))
}

// dense returns a function that tells of each moment in turn whether one that is kept is too near before it.
func (h *history) dense(now time.Time) func(diagnose.Snapshot) bool {
	var kept time.Time
	return func(m diagnose.Snapshot) bool {
		if now.Sub(m.Taken) > young && m.Taken.Sub(kept) < keepOldEvery-keepEvery/2 {
			return true
		}
		kept = m.Taken
		return false
	}
}

// before is the latest moment not after t, or the earliest there is.
func (h *history) before(t time.Time) diagnose.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	best := h.moments[0]
	for _, m := range h.moments {
		if !m.Taken.After(t) {
			best = m
		}
	}
	return best
}
