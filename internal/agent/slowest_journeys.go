package agent

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/internal/trace"
)

// maxSlowest is how many journeys of a window are kept.
const maxSlowest = 5

// slowestJourneys keeps the slowest journeys of one pair. consider is called as a subscriber's filter; it keeps slow records
// itself and always refuses: one comparison is enough for nearly every record, and only those that are kept are copied.
type slowestJourneys struct {
	pair  aggregate.PairKey
	names aggregate.Namer

	mu   sync.Mutex
	kept []slowRecord // the slowest first
}

type slowRecord struct {
	record.Record
	took time.Duration
}

func (s *slowestJourneys) consider(rec *record.Record) bool {
	if rec.Kind == record.Dropped || rec.Len == 0 {
		return false
	}
	took := max(rec.Time, rec.Hops[rec.Len-1].Time) - rec.Hops[0].Time
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) == maxSlowest && took <= s.kept[maxSlowest-1].took {
		return false
	}
	src, dst := s.names.Lookup(rec.First.Source.Addr(), rec.Start()), s.names.Lookup(rec.Last.Destination.Addr(), rec.Start())
	if !aggregate.SamePair(s.pair, src, dst) {
		return false
	}
	if len(s.kept) == maxSlowest {
		s.kept = s.kept[:maxSlowest-1]
	}
	at, _ := slices.BinarySearchFunc(s.kept, took, func(k slowRecord, took time.Duration) int { return cmp.Compare(took, k.took) })
	s.kept = slices.Insert(s.kept, at, slowRecord{*rec, took})
	return false
}

// drain describes what was kept since it was last called.
func (s *slowestJourneys) drain(devices []netdev.Device) []trace.Trace {
	s.mu.Lock()
	kept := s.kept
	s.kept = make([]slowRecord, 0, maxSlowest)
	s.mu.Unlock()
	known := journey.NewDevices(devices)
	zero := time.Now().Add(-loader.Monotonic())
	var out []trace.Trace
	for i := range kept {
		t, err := trace.New(&kept[i].Record, known, s.names, zero)
		if err == nil && t.Direction == s.pair.Direction { // else there is nothing to show
			out = append(out, t)
		}
	}
	return out
}
