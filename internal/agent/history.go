package agent

import (
	"slices"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
	"tracer/internal/record"
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

// Snapshot is what is known at one time. Counts grow since the start; two moments make a window.
type Snapshot struct {
	Taken    time.Time
	Snapshot *aggregate.Snapshot
	Devices  []netdev.Device // those traced
	Stats    record.Stats    // the kernel's own counts
	// Known is what a diagnosis is to know besides what happened in its window; of the later moment.
	Known Known
}

// Known is what does not belong to a window.
type Known struct {
	Events        []netdev.Event  // changes, the oldest first
	ActiveDevices map[string]bool // devices that have been in use
	ExpectQdisc   map[string]string
	Lookups       []record.RouteLookup
	DropsUnseen   bool // this kernel, or a hook that failed, hides losses
	Baseline      map[aggregate.StageKey]float64
}

// history keeps the moments of the last minutes. It holds at least one.
type history struct {
	mu      sync.Mutex
	moments []Snapshot
}

func (h *history) due(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Sub(h.moments[len(h.moments)-1].Taken) >= keepEvery
}

// last is the moment added last.
func (h *history) last() Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moments[len(h.moments)-1]
}

// add keeps a moment. It comes without its flows: a window is judged by pairs, and thousands of flows each time would
// be most of our memory.
func (h *history) add(m Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.moments) > 0 && m.Taken.Sub(h.moments[0].Taken) > keepFor {
		h.moments = h.moments[1:]
	}
	h.moments = slices.DeleteFunc(append(h.moments, m), h.dense(m.Taken))
}

// dense returns a function that tells of each moment in turn whether one that is kept is too near before it.
func (h *history) dense(now time.Time) func(Snapshot) bool {
	var kept time.Time
	return func(m Snapshot) bool {
		if now.Sub(m.Taken) > young && m.Taken.Sub(kept) < keepOldEvery-keepEvery/2 {
			return true
		}
		kept = m.Taken
		return false
	}
}

// before is the latest moment not after t, or the earliest there is.
func (h *history) before(t time.Time) Snapshot {
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
