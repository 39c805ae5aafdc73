// Package aggregate counts journeys by stage and device, by pair of workloads and by flow, in bounded memory, and
// hands out immutable snapshots of that.
package aggregate

import (
	"sync"
	"time"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Defaults of Options.
const (
	DefaultMaxPairs = 2000
	DefaultMaxFlows = 4096
	DefaultPairIdle = 10 * time.Minute
)

// Options are an Aggregator's. The zero value of a number means its default.
type Options struct {
	// Namer tells who is behind an address. It is required, and may be called by two goroutines at once.
	Namer Namer
	// Now is the clock that snapshots are stamped with; time.Now if nil.
	Now func() time.Time
	// MaxPairs bounds the pairs kept, beside one "_other" for each direction that takes what does not fit.
	MaxPairs int
	// MaxFlows bounds the flows kept. The least recently seen one makes room for a new one.
	MaxFlows int
	// PairIdle is how long a pair must have been silent before it makes room for a new one. It is to be longer
	// than any window that is looked at, since a pair that comes back starts from zero.
	PairIdle time.Duration
}

// Aggregator counts what records say. One goroutine adds records; all methods may be called by any.
type Aggregator struct {
	namer    Namer
	steady   VersionedNamer // the namer again, if it is one
	now      func() time.Time
	maxPairs int
	maxFlows int
	pairIdle time.Duration
	started  time.Time

	mu      sync.Mutex // guards all below; held for the time of a batch of records, or of copying what changed
	devices *journey.Devices
	stages  map[StageKey]*stage
	drops   map[DropKey]*DropCount
	pairs   map[PairKey]*pair
	others  int // pairs that are "_other"
	swept   time.Duration
	flows   map[flowKey]*flow
	recent  flowList
	sockets sockets
	held    []InFlight
	debts   [record.InFlight + 1]debt

	records, lost, mismatches  uint64
	pairOverflow, flowOverflow uint64
}

// stage is a StageDelay that grows, at a device or at a pair.
type stage struct {
	StageDelay
	all *stage // the same stage of all pairs; nil in that one itself
}

func (s *stage) observe(step *journey.Step, weight uint64) {
	if step.Untimed {
		s.Untimed += weight
		s.all.Untimed += weight
		return
	}
	delay := hist.OfDuration(step.Delay)
	s.Delay.Add(delay, weight)
	s.all.Delay.Add(delay, weight)
}

// New returns an Aggregator that knows no device yet.
func New(o Options) *Aggregator {
	a := &Aggregator{
		namer:    o.Namer,
		now:      o.Now,
		maxPairs: o.MaxPairs,
		maxFlows: o.MaxFlows,
		pairIdle: o.PairIdle,
		devices:  journey.NewDevices(nil),
		stages:   make(map[StageKey]*stage),
		drops:    make(map[DropKey]*DropCount),
		pairs:    make(map[PairKey]*pair),
		flows:    make(map[flowKey]*flow),
	}
	a.steady, _ = o.Namer.(VersionedNamer)
	if a.now == nil {
		a.now = time.Now
	}
	if a.maxPairs == 0 {
		a.maxPairs = DefaultMaxPairs
	}
	if a.maxFlows == 0 {
		a.maxFlows = DefaultMaxFlows
	}
	if a.pairIdle == 0 {
		a.pairIdle = DefaultPairIdle
	}
	a.started = a.now()
	return a
}

// SetDevices says which devices there are from now on. Records of those that left are still understood for a while.
func (a *Aggregator) SetDevices(list []netdev.Device) {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.devices = a.devices.Updated(list, now)
}

// Add counts a record that is not Open. Once its flow and its delays have been seen, it does not allocate.
func (a *Aggregator) Add(rec *record.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(rec)
}

// AddAll counts a batch of records, as Add does each.
func (a *Aggregator) AddAll(batch []record.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range batch {
		a.add(&batch[i])
	}
}

func (a *Aggregator) add(rec *record.Record) {
	a.records++
	if rec.Kind == record.Connection {
		a.connection(rec)
		return
	}
	if rec.Kind < record.Finished || rec.Kind > record.Split {
		a.mismatches++
		return
	}
	path, err := journey.PathOf(rec, a.devices)
	if err != nil {
		a.mismatches++
		return
	}
	share := 1 + a.debts[rec.Kind].pay()
	if rec.Kind == record.Dropped && !path.Loss() {
		// Of what is no loss only the count by reason is of interest.
		a.drop(dropKey(rec, &path)).add(rec, share)
		if refused(rec, &path) {
			a.flow(rec, path.Direction).pair.tcp(rec.Time).refuse(rec.Time, share)
		}
		return
	}

	f := a.flow(rec, path.Direction)
	p := f.pair
	p.dirty, p.seen = true, rec.Time
	f.dirty, f.seen = true, rec.Time
	if p.other {
		a.pairOverflow++
	}
	weight := uint64(max(1, rec.Weight)) * share
	steps := path.Steps()
	for i := path.StepsBeforeSplit; i < len(steps); i++ {
		step := &steps[i]
		if step.Stage == journey.Unknown || step.NoQueue {
			continue
		}
		s := a.pairStage(p, StageKey{step.Stage, step.Device.Label, path.Direction})
		s.observe(step, weight)
		f.observe(s.all, step, weight)
	}
	if rec.Kind == record.Dropped {
		// Drops are never sampled: each record is one, whatever the journey stood for.
		key := dropKey(rec, &path)
		a.pairDrop(p, key).add(rec, share)
		f.drops += share
		f.dropReason = key.Reason
		return
	}
	if whole(rec, steps) {
		total := hist.OfDuration(path.Total)
		p.Path.Add(total, weight)
		f.path.Add(total, weight)
	}
	if rec.SplitAt > 0 && rec.Kind != record.Split {
		return // of a packet that has been counted
	}
	packets := float64(weight) * float64(max(1, rec.Segments))
	bytes := float64(weight) * float64(rec.IPBytes)
	p.Packets += packets
	p.Bytes += bytes
	f.packets += packets
	f.bytes += bytes
}

// whole tells whether a journey's total is its residence on this node: not if the packet was split when it was
// enqueued, since then only its segments waited.
func whole(rec *record.Record, steps []journey.Step) bool {
	if rec.Kind != record.Split {
		return true
	}
	if rec.SplitAt > 0 {
		return false
	}
	last := &steps[len(steps)-1]
	return !(last.Stage == journey.Queue && last.Untimed)
}

// deviceStage returns the stage of all pairs together.
func (a *Aggregator) deviceStage(key StageKey) *stage {
	s := a.stages[key]
	if s == nil {
		s = &stage{StageDelay: StageDelay{StageKey: key}}
		a.stages[key] = s
	}
	return s
}

// Snapshot returns all that is known now. Add waits only while what changed since the last one is copied.
func (a *Aggregator) Snapshot() *Snapshot { return a.snapshot(true) }

// SnapshotWithoutFlows is a Snapshot without the flows, which are most of it.
func (a *Aggregator) SnapshotWithoutFlows() *Snapshot { return a.snapshot(false) }

func (a *Aggregator) snapshot(flows bool) *Snapshot {
	a.mu.Lock()
	taken := a.now()
	s := &Snapshot{
		Taken:         taken,
		Window:        taken.Sub(a.started),
		Stages:        make([]StageDelay, 0, len(a.stages)),
		Drops:         make([]DropCount, 0, len(a.drops)),
		Pairs:         make([]Pair, 0, len(a.pairs)),
		InFlight:      a.held,
		Records:       a.records,
		MissedRecords: a.lost,
		Mismatches:    a.mismatches,
		PairOverflow:  a.pairOverflow,
		FlowOverflow:  a.flowOverflow,
	}
	for _, st := range a.stages {
		s.Stages = append(s.Stages, st.frozen())
	}
	for _, d := range a.drops {
		s.Drops = append(s.Drops, *d)
	}
	for _, p := range a.pairs {
		s.Pairs = append(s.Pairs, p.frozen())
	}
	if flows {
		s.Flows = make([]Flow, 0, len(a.flows))
		for f := a.recent.newest; f != nil; f = f.older {
			s.Flows = append(s.Flows, f.frozen())
		}
	}
	a.mu.Unlock()
	s.sort()
	return s
}

func (s *stage) frozen() StageDelay {
	d := s.StageDelay
	d.Delay = s.Delay.Clone()
	return d
}
