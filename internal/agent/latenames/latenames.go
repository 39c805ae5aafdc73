// Package latenames delays records until the names of their addresses are certain. The API server tells late that a new pod
// has an address, and that a former one has it no longer.
package latenames

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tracer/internal/governor"
	"tracer/internal/record"
)

const (
	// NameDelay is how long every record waits: as long as an event of the API server usually takes to us, and more.
	NameDelay = time.Second
	// maxUnnamedDelay is how long a record waits for the name of a pod of this node: the kubelet tells the API server of a
	// new pod's address a second or two after the pod has it.
	maxUnnamedDelay = 5 * time.Second
	// maxDelayed and maxUnnamed bound the records that wait: as many as come in a second by default, and some of them
	// longer. Beyond that the oldest is named by what is known.
	maxDelayed = governor.DefaultMaxRecords
	maxUnnamed = 1024
	// maxAddresses bounds the addresses whose device is known.
	maxAddresses = 4096
	// batchSize is how many records are handed on at once, at most.
	batchSize = 256
)

// OwnerSource learns late who had an address. Its methods are called on the hot path.
type OwnerSource interface {
	// Resolved tells whether it is known by now who had the address at that time.
	Resolved(address netip.Addr, at time.Duration) bool
	// LocalPods are the addresses of this node's pods.
	LocalPods() []netip.Addr
	// DeviceChanged tells that at that time the address went from one pod's device to another, or that its device is gone.
	DeviceChanged(address netip.Addr, at time.Duration)
}

// Waiter holds records back.
type Waiter struct {
	source  OwnerSource           // nil to hold none back
	next    func([]record.Record) // takes a batch, which is valid during the call
	pods    atomic.Pointer[podDevices]
	current *podDevices // pods, as of the last batch

	mu           sync.Mutex
	deviceOf     map[netip.Addr]int // the pod device that each address is behind; guarded by mu
	delayed      queue              // those that wait for NameDelay
	unnamed      []record.Record    // those that wait for a name, in the order in which they came
	ready        []record.Record    // to be handed on
	handedOn     atomic.Int64       // all records up to that time are, unnamed ones aside
	unnamedCount atomic.Uint64
	earlyCount   atomic.Uint64
}

// podDevices are the devices of pods at one time.
type podDevices struct {
	since    time.Duration
	appeared map[int]time.Duration // by index, when each came; 0 if it was there before us
}

// New returns a Waiter that hands records on to next, in batches that are valid during the call. Without a source it
// holds none back.
func New(source OwnerSource, next func([]record.Record)) *Waiter {
	return &Waiter{source: source, next: next}
}

// Unnamed is how many records of this node's pods were handed on without a name, since none came in time.
func (w *Waiter) Unnamed() uint64 { return w.unnamedCount.Load() }

// Early is how many records did not wait for NameDelay, since too many waited.
func (w *Waiter) Early() uint64 { return w.earlyCount.Load() }

// Delays tells whether records are held back.
func (w *Waiter) Delays() bool { return w.source != nil }

// HandedOn is the time up to which all records were handed on, those without a name aside; 0 before the first ones.
func (w *Waiter) HandedOn() time.Duration { return time.Duration(w.handedOn.Load()) }

// Add takes records, and hands on those that have waited long enough.
func (w *Waiter) Add(batch []record.Record, now time.Duration) {
	w.mu.Lock()
	w.takeDevices()
	for i := range batch {
		w.learnDevices(&batch[i])
	}
	w.mu.Unlock()
	if w.source == nil {
		w.next(batch)
		return
	}
	w.retryUnnamed(now)
	for i := range batch {
		if w.delayed.len >= maxDelayed {
			w.earlyCount.Add(1)
			w.handOnOrKeep(w.delayed.front(), now)
			w.delayed.pop()
		}
		w.delayed.push(&batch[i])
	}
	for w.delayed.len > 0 && w.delayed.front().Time+NameDelay <= now {
		w.handOnOrKeep(w.delayed.front(), now)
		w.delayed.pop()
	}
	w.flush()
	w.handedOn.Store(int64(now - NameDelay))
}

// handOn hands a record on, with others.
func (w *Waiter) handOn(r *record.Record) {
	if w.ready = append(w.ready, *r); len(w.ready) == batchSize {
		w.flush()
	}
}

func (w *Waiter) flush() {
	w.next(w.ready)
	w.ready = w.ready[:0]
}

// handOnOrKeep hands a record on, or lets it wait for its name.
func (w *Waiter) handOnOrKeep(r *record.Record, now time.Duration) {
	if w.unresolved(r) {
		if len(w.unnamed) < maxUnnamed && r.Time+maxUnnamedDelay > now {
			w.unnamed = append(w.unnamed, *r)
			return
		}
		w.unnamedCount.Add(1)
	}
	w.handOn(r)
}

// retryUnnamed hands on the records that have a name by now, or have waited for one too long.
func (w *Waiter) retryUnnamed(now time.Duration) {
	kept := w.unnamed[:0]
	for i := range w.unnamed {
		r := &w.unnamed[i]
		switch {
		case !w.unresolved(r):
			w.handOn(r)
		case r.Time+maxUnnamedDelay <= now:
			w.unnamedCount.Add(1)
			w.handOn(r)
		default:
			kept = append(kept, *r)
		}
	}
	w.unnamed = kept
}

// unresolved tells whether a pod of this node that has no name yet sent the packet, or gets it.
func (w *Waiter) unresolved(r *record.Record) (unresolved bool) {
	w.podEnds(r, func(_ int, _ time.Duration, address netip.Addr) {
		unresolved = unresolved || !w.source.Resolved(address, r.Start())
	})
	return unresolved
}

// podEnds yields the addresses in a record that are pods' of this node by the devices passed: the sender's, the
// receiver's. Those that cannot be a pod's alone (link-local, multicast, unspecified ones) are left out: they never get a
// name.
func (w *Waiter) podEnds(r *record.Record, yield func(ifindex int, appeared time.Duration, address netip.Addr)) {
	if w.current == nil || r.Len == 0 {
		return
	}
	first, last := &r.Hops[0], &r.Hops[r.Len-1]
	comesFrom := func(h record.Hook) bool { return h == record.Ingress || h == record.PodQueue }
	if last.Hook == record.Free && r.Len > 1 { // dropped behind the hop before
		last = &r.Hops[r.Len-2]
	}
	if d, ok := w.current.appeared[first.Ifindex]; ok && comesFrom(first.Hook) && r.First.Source.Addr().IsGlobalUnicast() {
		yield(first.Ifindex, d, r.First.Source.Addr())
	}
	if d, ok := w.current.appeared[last.Ifindex]; ok && !comesFrom(last.Hook) && r.Last.Destination.Addr().IsGlobalUnicast() {
		yield(last.Ifindex, d, r.Last.Destination.Addr())
	}
}
