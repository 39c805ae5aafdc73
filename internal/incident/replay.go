package incident

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"tracer/internal/overview"
)

// Replay shows an incident as overviews, frame by frame.
type Replay struct {
	incident *Incident

	mu     sync.Mutex
	frame  int // that is shown
	paused bool
}

// ErrNoFlows tells that flows were asked for.
var ErrNoFlows = errors.New("an incident keeps no flows: show it by pair, service or device")

// NewReplay begins with the frame of a time.
func NewReplay(i *Incident, at time.Time) (*Replay, error) {
	if len(i.Frames) == 0 {
		return nil, errors.New("nothing of this incident can be shown: no frame of it could be read")
	}
	r := &Replay{incident: i}
	for k := range i.Frames {
		if !i.Frames[k].Taken.After(at) {
			r.frame = k
		}
	}
	return r, nil
}

// Overviews yields the frame that is shown, and goes on to the next one at each of the query's intervals until ctx ends. The last one
// stays.
func (r *Replay) Overviews(ctx context.Context, q overview.Query) iter.Seq2[*overview.Overview, error] {
	return func(yield func(*overview.Overview, error) bool) {
		if q.By == overview.ByFlow {
			yield(nil, ErrNoFlows)
			return
		}
		timer := time.NewTicker(q.Interval)
		defer timer.Stop()
		for yield(r.overview(q), nil) {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			r.mu.Lock()
			if !r.paused {
				r.frame = min(r.frame+1, len(r.incident.Frames)-1)
			}
			r.mu.Unlock()
		}
	}
}

// Pause stops at the frame that is shown, or goes on.
func (r *Replay) Pause(paused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = paused
}

// Step goes so many frames on, or back.
func (r *Replay) Step(frames int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frame = max(0, min(r.frame+frames, len(r.incident.Frames)-1))
}

// overview is that of the frame that is shown.
func (r *Replay) overview(q overview.Query) *overview.Overview {
	r.mu.Lock()
	frame := r.frame
	r.mu.Unlock()
	return r.incident.overview(frame, q)
}
