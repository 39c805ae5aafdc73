// Package aggregate counts records in bounded memory: how long packets took and how many were dropped, by stage and device,
// by pair of workloads and by flow, how their TCP connections stand, and which packets are in flight. It hands out
// immutable snapshots, two of which make a window: those are what the diagnosis, the metrics and the live view are made of.
// Delays are in seconds, sizes in bytes.
package aggregate

import (
	"net/netip"
	"sync"
	"time"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Defaults of Options.
const (
	DefaultMaxPairs         = 2000
	DefaultMaxFlows         = 4096
	DefaultMaxConversations = 4096
	DefaultPairIdle         = 10 * time.Minute
)

// Options are an Aggregator's. The zero value of a number means its default.
type Options struct {
	// Namer tells who is behind an address. It is required, and may be called by two goroutines at once.
	Namer Namer
	// Now is the clock that snapshots are stamped with; time.Now if nil.
	Now func() time.Time
	// MaxPairs bounds the pairs kept, beside an OtherWorkload one for each direction that counts for what does not fit.
	MaxPairs int
	// MaxFlows bounds the flows kept. The least recently seen one is evicted for a new one.
	MaxFlows int
	// MaxConversations bounds how many pairs of addresses are known with what they last said to each other. Those least
	// recently seen are forgotten.
	MaxConversations int
	// PairIdle is how long a pair must have been idle before it may be evicted for a new one. It must be longer than
	// any window, since a pair that comes back starts from zero.
	PairIdle time.Duration
}

// Aggregator counts records. One goroutine adds records; all methods may be called by any.
type Aggregator struct {
	namer     Namer
	versioned VersionedNamer // the namer again, if it is one
	now       func() time.Time
	maxPairs  int
	maxFlows  int
	pairIdle  time.Duration
	started   time.Time

	mu            sync.Mutex // guards all below, for a batch of records or while what changed is copied
	devices       *journey.Devices
	stages        map[StageKey]*stage
	drops         map[DropKey]*DropCount
	pairs         map[PairKey]*pair
	otherPairs    int           // of them those of OtherWorkload
	idleScanned   time.Duration // when pairs were last searched for idle ones
	flows         map[flowKey]*flow
	lru           flowList // the flows, for eviction
	connections   connections
	untranslated  []record.Record
	conversations conversations
	synQueues     map[netip.AddrPort]synQueue // by where the socket listens
	tcpAnswers    answersSeen
	clock         time.Duration // the latest CLOCK_MONOTONIC, less the time since started, of records as they were added
	inFlight      []InFlight
	missed        [record.Requested + 1]compensation // by record.Kind

	records, missedRecords, pathless uint64
	pairOverflow, flowOverflow       uint64
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

		synQueues: make(map[netip.AddrPort]synQueue),
	}
	a.versioned, _ = o.Namer.(VersionedNamer)
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
	if o.MaxConversations == 0 {
		o.MaxConversations = DefaultMaxConversations
	}
	a.conversations = newConversations(o.MaxConversations)
	a.started = a.now()
	return a
}

// SetDevices says which devices there are from now on. Records that name one that is gone are counted for a while yet.
func (a *Aggregator) SetDevices(list []netdev.Device) {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.devices = a.devices.Updated(list, now)
}

// Add counts a record that is not of a packet in flight. Once its flow and its delays have been seen, it does not allocate.
func (a *Aggregator) Add(rec *record.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(rec)
	a.setClock(rec.Time)
}

// AddAll counts a batch of records, as Add does each.
func (a *Aggregator) AddAll(batch []record.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range batch {
		a.add(&batch[i])
	}
	if n := len(batch); n > 0 {
		a.setClock(batch[n-1].Time)
	}
}

// setClock learns what CLOCK_MONOTONIC is, from a record that was just made or has waited for a while.
func (a *Aggregator) setClock(made time.Duration) {
	a.clock = max(a.clock, made-a.now().Sub(a.started))
}

func (a *Aggregator) add(rec *record.Record) {
	a.records++
	if rec.Kind == record.Connection {
		a.addConnection(rec)
		return
	}
	if rec.Kind == record.Requested {
		a.addRequest(rec)
		return
	}
	if rec.Kind < record.Finished || rec.Kind > record.Split {
		a.pathless++
		return
	}
	path, err := journey.PathOf(rec, a.devices)
	if err != nil {
		a.pathless++
		return
	}
	factor := 1 + a.missed[rec.Kind].next()
	if rec.Kind == record.Dropped && !path.Loss() {
		// What is no loss is only counted by its reason.
		a.deviceDrop(dropKey(rec, &path)).add(rec, factor)
		a.addBareAnswer(rec, &path, factor)
		if rec.SYN && path.Where.Stage == journey.Deliver {
			if f := a.flow(rec, path.Direction); f.refuses(rec) {
				f.refused += factor
				f.pair.tcp(rec.Time).addRefused(rec.Time, rec.Last.Destination, factor)
			}
		}
		return
	}

	f := a.flow(rec, path.Direction)
	p := f.pair
	p.changed, p.lastSeen = true, rec.Time
	f.changed, f.lastSeen = true, rec.Time
	if p.other {
		a.pairOverflow++
	}
	weight := uint64(max(1, rec.Weight)) * factor
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
		a.pairDrop(p, key).add(rec, factor)
		f.drops += factor
		f.dropReason = key.Reason
		if !p.other && !p.Dropped.of(f, rec) {
			p.Dropped = endsOf(f, rec)
		}
		a.converse(f, rec, path.Direction, weight, key.Loss)
		return
	}
	if residenceKnown(rec, steps) {
		total := hist.ValueOf(path.Total)
		p.Path.Add(total, weight)
		f.path.Add(total, weight)
	} else if len(steps) == 0 {
		p.Untimed += weight
	}
	if rec.SplitAt > 0 && rec.Kind != record.Split {
		return // a segment, whose packet has its own record
	}
	a.converse(f, rec, path.Direction, weight, false)
	if rec.First.Source != rec.Last.Source && path.Direction == journey.Out && !p.other {
		p.SourceNAT.observe(rec.Last.Source)
	}
	packets := float64(weight) * float64(max(1, rec.Segments))
	bytes := float64(weight) * float64(rec.IPBytes)
	p.Packets += packets
	p.Bytes += bytes
	f.packets += packets
	f.bytes += bytes
}

// residenceKnown tells whether a journey's total is the packet's residence on this node: not if the packet was split at
// enqueue, since then its segments stayed on, and not if its only hook was that where it came in.
func residenceKnown(rec *record.Record, steps []journey.Step) bool {
	if len(steps) == 0 {
		return false
	}
	if rec.Kind != record.Split {
		return true
	}
	if rec.SplitAt > 0 {
		return false
	}
	last := &steps[len(steps)-1]
	return !(last.Stage == journey.Queue && last.Untimed)
}
