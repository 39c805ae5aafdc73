package agent

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/internal/trace"
)

// maxDropped is how many dropped packets are kept between two times, and maxLost how many of them that were lost are described. What was freed without being a loss is told apart by the devices, which are known later.
const (
	maxDropped = 48
	maxLost    = 12
)

// notable keeps the slowest journeys, and packets that were dropped, since take was last called. Like slowestJourneys it is a
// subscriber's filter that refuses all.
type notable struct {
	mu   sync.Mutex
	slow slowest
	lost dropped
}

func (n *notable) consider(rec *record.Record) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if rec.Kind == record.Dropped {
		n.lost.add(rec)
	} else if rec.Len > 0 {
		if took := timeOf(rec); n.slow.takes(took) {
			n.slow.add(rec, took)
		}
	}
	return false
}

// dropped are packets that were lost, or freed without being a loss: at most maxDropped, one of each reason and function that freed it.
type dropped []record.Record

func (d *dropped) add(rec *record.Record) {
	if len(*d) < maxDropped && !slices.ContainsFunc(*d, func(k record.Record) bool { return k.Reason == rec.Reason && k.Location == rec.Location }) {
		*d = append(*d, *rec)
	}
}

// take returns what was kept, and begins anew.
func (n *notable) take() notableRecords {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := notableRecords{n.slow, n.lost}
	n.slow, n.lost = nil, nil
	return kept
}

// notableRecords are those of some seconds.
type notableRecords struct {
	slow slowest
	lost dropped
}

// and joins those of two times, one after the other.
func (r notableRecords) and(later notableRecords) notableRecords {
	slow := slices.Concat(r.slow, later.slow)
	slices.SortStableFunc(slow, func(a, b slowRecord) int { return cmp.Compare(b.took, a.took) })
	lost := slices.Clone(r.lost)
	for i := range later.lost {
		lost.add(&later.lost[i])
	}
	return notableRecords{slow[:min(len(slow), maxSlowest)], lost}
}

// traces describes them, those dropped without what is no loss.
func (r notableRecords) traces(devices []netdev.Device, names aggregate.Namer) (slow, lost []trace.Trace) {
	known := journey.NewDevices(devices)
	zero := time.Now().Add(-loader.Monotonic())
	for i := range r.slow {
		if t, err := trace.New(&r.slow[i].Record, known, names, zero); err == nil {
			slow = append(slow, t)
		}
	}
	for i := range r.lost {
		if len(lost) == maxLost {
			break
		}
		if t, err := trace.New(&r.lost[i], known, names, zero); err == nil && t.Drop != nil && t.Drop.Loss {
			cause, meaning := diagnose.CauseOfDrop(t.Drop.Key())
			t.Drop.Cause, t.Drop.Meaning = string(cause), meaning
			lost = append(lost, t)
		}
	}
	return slow, lost
}
