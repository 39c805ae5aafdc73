package agent

import (
	"sync/atomic"
	"time"

	"tracer/internal/loader"
	"tracer/internal/record"
)

const (
	// maxRequests is how many records of requests in a second are read before fewer connections are watched.
	maxRequests = 12_000
	// leastWatched is of how many connections one is watched at least.
	leastWatched = 1 << 16
	// How much of the table may be held before fewer are watched, and below which more are: its buckets fill unevenly.
	tooFull, roomy = 0.4, 0.15
)

// watchedConnections has as many connections watched as the table holds and as the agent reads requests of. It is the reader's goroutine's
// alone, but for oneIn.
type watchedConnections struct {
	looked   time.Time
	requests int // read since then, of connections that are in the share
	oneIn    atomic.Uint64
}

// WatchedOneIn is of how many connections one has its requests timed.
func (a *Agent) WatchedOneIn() uint64 { return max(1, a.watched.oneIn.Load()) }

// watchConnections counts a batch of records, and once a second says which connections are watched in the next. It returns the requests
// that have waited for too long, and the connections that turned out to have been timed in vain.
func (a *Agent) watchConnections(batch []record.Record, now time.Time) ([]record.Record, error) {
	w := &a.watched
	w.count(batch)
	elapsed := now.Sub(w.looked)
	if elapsed < time.Second {
		return nil, nil
	}
	found, err := a.loader.WatchedConnections()
	if err != nil {
		return nil, err
	}
	return append(found.Unanswered, found.LeftOut...), a.loader.WatchConnections(w.decide(now, float64(found.Held)/float64(found.Room)), found)
}

// count counts the requests of a batch. Those of connections beyond the share go on for a while after it has become smaller: they do not
// count, or it would become smaller and smaller meanwhile.
func (w *watchedConnections) count(batch []record.Record) {
	below := w.below()
	for i := range batch {
		if r := &batch[i]; r.Kind == record.Requested && (below == loader.AllConnections || loader.ConnectionNumber(&r.First) < below) {
			w.requests++
		}
	}
}

// below is below what number connections are watched.
func (w *watchedConnections) below() uint64 { return loader.AllConnections / max(1, w.oneIn.Load()) }

// decide says below what number connections are watched from now on, by what was counted and by how full the table is of those that
// are now.
func (w *watchedConnections) decide(now time.Time, full float64) uint64 {
	oneIn := max(1, w.oneIn.Load())
	if !w.looked.IsZero() {
		oneIn = nextOneIn(oneIn, float64(w.requests)/now.Sub(w.looked).Seconds(), full)
	}
	w.looked, w.requests = now, 0
	w.oneIn.Store(oneIn)
	return w.below()
}

// nextOneIn is of how many connections one is to be watched, by that until now, by how many requests were read in a second and by how
// full the table is. It is a power of two, so that those who stay watched are the same.
func nextOneIn(oneIn uint64, requests, full float64) uint64 {
	switch {
	case (requests > maxRequests || full > tooFull) && oneIn < leastWatched:
		return oneIn * 2
	case requests < maxRequests/4 && full < roomy && oneIn > 1:
		return oneIn / 2
	}
	return oneIn
}
