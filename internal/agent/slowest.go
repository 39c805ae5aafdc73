package agent

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/internal/trace"
)

// slowestKept is how many journeys of a window are kept.
const slowestKept = 5

// slowest keeps the slowest journeys of one pair. Its take is a subscriber's want that wants nothing: nearly every
// record is turned away by one comparison, and none is copied but those that are kept.
type slowest struct {
	pair  aggregate.PairKey
	names aggregate.Namer

	mu   sync.Mutex
	kept []slowRecord // the slowest first
}

type slowRecord struct {
	record.Record
	took time.Duration
}

func (s *slowest) take(rec *record.Record) bool {
	if rec.Kind == record.Dropped || rec.Len == 0 {
		return false
	}
	took := max(rec.Time, rec.Hops[rec.Len-1].Time) - rec.Hops[0].Time
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) == slowestKept && took <= s.kept[slowestKept-1].took {
		return false
	}
	src, dst := s.names.Lookup(rec.First.Source.Addr(), rec.Start()), s.names.Lookup(rec.Last.Destination.Addr(), rec.Start())
	if !aggregate.SamePair(s.pair, src, dst) {
		return false
	}
	if len(s.kept) == slowestKept {
		s.kept = s.kept[:slowestKept-1]
	}
	at, _ := slices.BinarySearchFunc(s.kept, took, func(k slowRecord, took time.Duration) int { return cmp.Compare(took, k.took) })
	s.kept = slices.Insert(s.kept, at, slowRecord{*rec, took})
	return false
}

// drain describes what was kept since it was last called.
func (s *slowest) drain(devices []netdev.Device) []trace.Trace {
	s.mu.Lock()
	kept := s.kept
	s.kept = make([]slowRecord, 0, slowestKept)
	s.mu.Unlock()
	known := journey.NewDevices(devices)
	zero := time.Now().Add(-Monotonic())
	var out []trace.Trace
	for i := range kept {
		t, err := trace.New(&kept[i].Record, known, s.names, zero)
		if err == nil && t.Direction == s.pair.Direction { // else there is nothing to show
			out = append(out, t)
		}
	}
	return out
}
