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
	kept slowest
}

// slowest are at most maxSlowest records of journeys, the slowest first.
type slowest []slowRecord

type slowRecord struct {
	record.Record
	took time.Duration
}

// timeOf is how long the journey of a record with hops took.
func timeOf(rec *record.Record) time.Duration {
	return max(rec.Time, rec.Hops[rec.Len-1].Time) - rec.Hops[0].Time
}

// takes tells whether a journey that took so long is one of the slowest.
func (s slowest) takes(took time.Duration) bool {
	return len(s) < maxSlowest || took > s[maxSlowest-1].took
}

// add adds one of the slowest, and drops the least slow for which there is no room any more.
func (s *slowest) add(rec *record.Record, took time.Duration) {
	kept := (*s)[:min(len(*s), maxSlowest-1)]
	at, _ := slices.BinarySearchFunc(kept, took, func(k slowRecord, took time.Duration) int { return cmp.Compare(took, k.took) })
	*s = slices.Insert(kept, at, slowRecord{*rec, took})
}

func (s *slowestJourneys) consider(rec *record.Record) bool {
	if rec.Kind == record.Dropped || rec.Len == 0 {
		return false
	}
	took := timeOf(rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.kept.takes(took) {
		return false
	}
	src, dst := s.names.Lookup(rec.First.Source.Addr(), rec.Start()), s.names.Lookup(rec.Last.Destination.Addr(), rec.Start())
	if aggregate.SamePair(s.pair, src, dst) {
		s.kept.add(rec, took)
	}
	return false
}

// drain describes what was kept since it was last called.
func (s *slowestJourneys) drain(devices []netdev.Device) []trace.Trace {
	s.mu.Lock()
	kept := s.kept
	s.kept = make(slowest, 0, maxSlowest)
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
