package agent

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tracer/internal/governor"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

const (
	// settle is how long every record waits: as long as an event of the API server usually takes to us, and more.
	settle = time.Second
	// maxWaiting and maxUnnamed bound the records that wait: as many as come in a second by default, and some of them
	// longer. Beyond, the oldest is named by what is known.
	maxWaiting = governor.DefaultMaxRecords
	maxUnnamed = 1024
	maxBehind  = 4096
	// batchSize is how many records at most are handed on at once.
	batchSize = 256
	// patience is how long a record waits for the name of a pod of this node: the kubelet tells the API server of a new
	// pod's address a second or two after the pod has it.
	patience = 5 * time.Second
)

// Learner is a Namer that may learn late who had an address. Its methods are called on the hot path.
type Learner interface {
	// Resolved tells whether it is known by now who had the address at that time.
	Resolved(address netip.Addr, at time.Duration) bool
	// LocalPods are the addresses of this node's pods.
	LocalPods() []netip.Addr
	// DeviceChanged tells that at that time the address went from one pod's device to another, or that its device is gone.
	DeviceChanged(address netip.Addr, at time.Duration)
}

// waiting holds records back for a while: what tells whose an address was at a packet's time may come after the packet,
// be it that it is a new pod's or that it is its former holder's no longer.
type waiting struct {
	learner Learner               // nil to hold none back
	next    func([]record.Record) // takes a batch, which is valid during the call
	pods    atomic.Pointer[podDevices]
	current *podDevices // pods, as of the last batch
	mu      sync.Mutex
	behind  map[netip.Addr]int // the device that each address is behind; guarded by mu
	settled queue
	unnamed []record.Record // in the order in which they came
	ready   []record.Record // to be handed on
	passed  atomic.Int64    // all records up to that time are through, unnamed ones aside
	missed  atomic.Uint64   // records of a pod of this node that nobody named in time
	early   atomic.Uint64   // records that did not wait until they were settled, for want of room
}

// podDevices are those of pods at one time.
type podDevices struct {
	since    time.Duration
	appeared map[int]time.Duration // when each came to be; 0 if it was there before us
}

// pass takes records, and hands on those that have waited long enough, in batches.
func (w *waiting) pass(batch []record.Record, now time.Duration) {
	if w.learner == nil {
		w.next(batch)
		return
	}
	w.mu.Lock()
	w.follow()
	for i := range batch {
		w.tell(&batch[i])
	}
	w.mu.Unlock()
	w.again(now)
	for i := range batch {
		if w.settled.len >= maxWaiting {
			w.early.Add(1)
			w.release(w.settled.front(), now)
			w.settled.pop()
		}
		w.settled.push(&batch[i])
	}
	for w.settled.len > 0 && w.settled.front().Time+settle <= now {
		w.release(w.settled.front(), now)
		w.settled.pop()
	}
	w.flush()
	w.passed.Store(int64(now - settle))
}

// hand hands a record on, with others.
func (w *waiting) hand(r *record.Record) {
	if w.ready = append(w.ready, *r); len(w.ready) == batchSize {
		w.flush()
	}
}

func (w *waiting) flush() {
	w.next(w.ready)
	w.ready = w.ready[:0]
}

// release hands a record on, or lets it wait for its name.
func (w *waiting) release(r *record.Record, now time.Duration) {
	if w.unknown(r) {
		if len(w.unnamed) < maxUnnamed && r.Time+patience > now {
			w.unnamed = append(w.unnamed, *r)
			return
		}
		w.missed.Add(1)
	}
	w.hand(r)
}

// again goes through the records without a name; some go on waiting.
func (w *waiting) again(now time.Duration) {
	kept := w.unnamed[:0]
	for i := range w.unnamed {
		r := &w.unnamed[i]
		switch {
		case !w.unknown(r):
			w.hand(r)
		case r.Time+patience <= now:
			w.missed.Add(1)
			w.hand(r)
		default:
			kept = append(kept, *r)
		}
	}
	w.unnamed = kept
}

// ends are the addresses in a record that are pods' of this node by the devices passed: the sender's, the receiver's.
// Those that cannot be a pod's alone (link-local, multicast, unspecified ones) are left out: nobody will ever name them.
func (w *waiting) ends(r *record.Record, yield func(ifindex int, appeared time.Duration, address netip.Addr)) {
	if w.current == nil || r.Len == 0 {
		return
	}
	first, last := &r.Hops[0], &r.Hops[r.Len-1]
	if d, ok := w.current.appeared[first.Ifindex]; ok && first.Hook == record.Ingress && r.First.Source.Addr().IsGlobalUnicast() {
		yield(first.Ifindex, d, r.First.Source.Addr())
	}
	if d, ok := w.current.appeared[last.Ifindex]; ok && last.Hook != record.Ingress && r.Last.Destination.Addr().IsGlobalUnicast() {
		yield(last.Ifindex, d, r.Last.Destination.Addr())
	}
}

// unknown tells whether a pod of this node sent the packet, or gets it, that nobody names yet.
func (w *waiting) unknown(r *record.Record) (unknown bool) {
	w.ends(r, func(_ int, _ time.Duration, address netip.Addr) {
		unknown = unknown || !w.learner.Resolved(address, r.Start())
	})
	return unknown
}

// tell lets the learner know of new devices' addresses. An address stays behind the device at which it was seen first, as
// long as that is there: others' addresses may come out of a pod too.
func (w *waiting) tell(r *record.Record) {
	w.ends(r, func(ifindex int, appeared time.Duration, address netip.Addr) {
		before, known := w.behind[address]
		if known {
			if before == ifindex {
				return
			}
			if _, there := w.current.appeared[before]; there {
				return
			}
		}
		if len(w.behind) >= maxBehind {
			clear(w.behind)
		}
		if w.behind == nil {
			w.behind = map[netip.Addr]int{}
		}
		w.behind[address] = ifindex
		if appeared != 0 {
			w.learner.DeviceChanged(address, appeared)
		}
	})
}

// follow takes up which devices there are, and tells the learner which addresses are behind none of them any more.
func (w *waiting) follow() {
	now := w.pods.Load()
	if now == w.current {
		return
	}
	w.current = now
	for address, ifindex := range w.behind {
		if _, there := now.appeared[ifindex]; !there {
			delete(w.behind, address)
			w.learner.DeviceChanged(address, now.since)
		}
	}
}

// localPods are the devices of this node's pods, by address, as far as packets have shown them.
func (w *waiting) localPods() map[netip.Addr]int {
	found := map[netip.Addr]int{}
	if w.learner == nil {
		return found
	}
	pods := w.learner.LocalPods()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, address := range pods {
		if ifindex, ok := w.behind[address]; ok {
			found[address] = ifindex
		}
	}
	return found
}

// setDevices says which devices there are since when. Only those that come later are known to be new.
func (w *waiting) setDevices(devices []netdev.Device, since time.Duration) {
	before := w.pods.Load()
	pods := &podDevices{since: since, appeared: map[int]time.Duration{}}
	for i := range devices {
		index := devices[i].Index
		if devices[i].Role != netdev.RolePod {
			continue
		}
		if before != nil {
			known, ok := before.appeared[index]
			if !ok {
				known = since
			}
			pods.appeared[index] = known
		} else {
			pods.appeared[index] = 0
		}
	}
	w.pods.Store(pods)
}
