package agent

import (
	"net/netip"
	"sync/atomic"
	"time"

	"tracer/internal/record"
)

const (
	// maxWaiting and maxUnnamed bound the records that wait. Beyond, the oldest is named by what is known.
	maxWaiting = 16384
	maxUnnamed = 2048
	// patience is how long a record waits for the name of a pod of this node: the kubelet tells the API server of a new
	// pod's address a second or two after the pod has it.
	patience = 5 * time.Second
)

// waiting holds records back for a while: what tells whose an address was at a packet's time may come after the packet,
// be it that it is a new pod's or that it is its former holder's no longer.
type waiting struct {
	settle  time.Duration // for all records; 0 to hold none back
	knows   func(netip.Addr, time.Duration) bool
	pods    atomic.Pointer[map[int]bool] // the devices of pods
	settled queue
	unnamed queue
	ready   []record.Record
	passed  atomic.Int64  // all records up to that time are through, unnamed ones aside
	missed  atomic.Uint64 // records of a pod of this node that nobody named in time
}

// queue holds records in the order in which they came.
type queue struct {
	records []record.Record
	head    int
}

func (q *queue) len() int { return len(q.records) - q.head }

func (q *queue) front() *record.Record { return &q.records[q.head] }

func (q *queue) push(r *record.Record) {
	if q.head > 256 && q.head*2 > len(q.records) {
		n := copy(q.records, q.records[q.head:])
		q.records, q.head = q.records[:n], 0
	}
	q.records = append(q.records, *r)
}

func (q *queue) pop() { q.head++ }

// pass takes records, and hands on those that have waited long enough: in one batch, valid during the call.
func (w *waiting) pass(batch []record.Record, now time.Duration, next func([]record.Record)) {
	if w.settle == 0 {
		next(batch)
		return
	}
	w.ready = w.ready[:0]
	w.unnamed.records = w.again(now)
	for i := range batch {
		if w.settled.len() >= maxWaiting {
			w.release(w.settled.front(), now)
			w.settled.pop()
		}
		w.settled.push(&batch[i])
	}
	for w.settled.len() > 0 && w.settled.front().Time+w.settle <= now {
		w.release(w.settled.front(), now)
		w.settled.pop()
	}
	next(w.ready)
	w.passed.Store(int64(now - w.settle))
}

// release hands a record on, or lets it wait for its name.
func (w *waiting) release(r *record.Record, now time.Duration) {
	if w.unknown(r) {
		if w.unnamed.len() < maxUnnamed && r.Time+patience > now {
			w.unnamed.push(r)
			return
		}
		w.missed.Add(1)
	}
	w.ready = append(w.ready, *r)
}

// again goes through the records without a name and returns those that go on waiting.
func (w *waiting) again(now time.Duration) []record.Record {
	kept := w.unnamed.records[:0]
	for i := range w.unnamed.records {
		r := &w.unnamed.records[i]
		switch {
		case !w.unknown(r):
			w.ready = append(w.ready, *r)
		case r.Time+patience <= now:
			w.missed.Add(1)
			w.ready = append(w.ready, *r)
		default:
			kept = append(kept, *r)
		}
	}
	return kept
}

// unknown tells whether a pod of this node sent the packet, or gets it, that nobody names yet.
func (w *waiting) unknown(r *record.Record) bool {
	pods := w.pods.Load()
	if pods == nil || r.Len == 0 {
		return false
	}
	first, last := &r.Hops[0], &r.Hops[r.Len-1]
	return (*pods)[first.Ifindex] && first.Hook == record.Ingress && !w.knows(r.First.Source.Addr(), r.Start()) ||
		(*pods)[last.Ifindex] && last.Hook != record.Ingress && !w.knows(r.Last.Destination.Addr(), r.Start())
}

// setDevices says which devices there are.
func (w *waiting) setDevices(devices []record.Device) {
	pods := map[int]bool{}
	for i := range devices {
		if devices[i].Role == record.RolePod {
			pods[devices[i].Index] = true
		}
	}
	w.pods.Store(&pods)
}
