package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// scanChunk is how many buckets of journeys, or of connections, are mapped at a time: all pages mapped count as resident.
const scanChunk = 1024

// table is where the in-flight table is in the kernel.
type table struct {
	variables *ebpf.Map // one value, and in it
	slotsAt   uint32    // where the buckets' tags and states begin
	journeys  *ebpf.Map
}

// OpenJourneys reads the journeys that have not ended yet. Each record's time is when it was read.
func (l *Loader) OpenJourneys() ([]record.Record, error) {
	held := heldPackets{loader: l, left: maxHeldQuestions}
	open, torn, err := l.objects.table.scan(held.ask)
	l.tornScans.Add(uint64(torn))
	return open, errors.Join(err, held.err)
}

// scan reads the open journeys: packets that are inside this node now. Slots that change while they are read are counted
// as torn and left out; what is too old to be alive is left out too. Of what was last seen where nothing queues, more than
// STALE_SECONDS ago, held tells whether it is still there.
func (t table) scan(held func(key uint64, r *record.Record) bool) (open []record.Record, torn int, err error) {
	err = t.each(func(b *bpfobj.TracerBucketSlots, journeys *bpfobj.TracerBucketJourneys) {
		var changed int
		open, changed = scanBucket(open, b, journeys, Monotonic, held)
		torn += changed
	})
	if err != nil {
		return nil, 0, err
	}
	return open, torn, nil
}

// each calls f with the buckets of which some are mapped, those that have open journeys among them. The slots are mapped all at once: they
// take a MiB, and each time that memory is unmapped other CPUs wait.
func (t table) each(f func(*bpfobj.TracerBucketSlots, *bpfobj.TracerBucketJourneys)) error {
	err := view(t.variables, t.slotsAt, 0, uint32(bpfobj.TracerTableBUCKETS), func(all []bpfobj.TracerBucketSlots) error {
		from := uint32(0)
		for buckets := range slices.Chunk(all, scanChunk) {
			if anyOpen(buckets) {
				err := view(t.journeys, 0, from, scanChunk, func(journeys []bpfobj.TracerBucketJourneys) error {
					for i := range buckets {
						f(&buckets[i], &journeys[i])
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			from += scanChunk
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("map the in-flight table: %w", err)
	}
	return nil
}

// view lets f see n values of an array, from one of them on, which begins somewhere in a map's memory.
func view[T any](m *ebpf.Map, at, from, n uint32, f func([]T) error) error {
	return mapped(m, at, from, n, unix.PROT_READ, f)
}

// change is a view that f may write to.
func change[T any](m *ebpf.Map, at, from, n uint32, f func([]T) error) error {
	return mapped(m, at, from, n, unix.PROT_READ|unix.PROT_WRITE, f)
}

func mapped[T any](m *ebpf.Map, at, from, n uint32, protection int, f func([]T) error) error {
	size := uint32(unsafe.Sizeof(*new(T)))
	memory, values, err := mapMemory(m, at+from*size, n*size, protection)
	if err != nil {
		return err
	}
	return errors.Join(f(unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(values))), n)), unix.Munmap(memory))
}

// mapMemory maps a part of a map's memory, which need not begin at a page: they have 16 or 64 KiB on some machines. It returns what is to be
// unmapped, and the part in it.
func mapMemory(m *ebpf.Map, at, length uint32, protection int) (memory, part []byte, err error) {
	before := at % uint32(os.Getpagesize())
	memory, err = unix.Mmap(m.FD(), int64(at-before), int(before+length), protection, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return memory, memory[before:], nil
}

// isOpen tells the states of packets that are sampled and inside this node.
func isOpen(s bpfobj.TracerSlotState) bool {
	return s.Flags&uint8(bpfobj.TracerFlagFLAG_UNSAMPLED|bpfobj.TracerFlagFLAG_REPORTED) == 0
}

func anyOpen(buckets []bpfobj.TracerBucketSlots) bool {
	for i := range buckets {
		b := &buckets[i]
		for slot, tag := range b.Tag {
			if tag != 0 && isOpen(b.State[slot]) {
				return true
			}
		}
	}
	return false
}

// scanBucket adds the open journeys of a bucket, and counts those that changed while they were read.
//
// The programs write while it reads, and nothing orders what another core of an arm64 machine sees of their writes: a
// barrier of the compiler does not. So it trusts no order. A slot counts only if tag and state are the same before and
// after, and if state and journey, which lie apart, agree: on the fingerprint, which a newcomer writes in both, and on the
// last hop, which each hook writes in both. What is read here is read in order, since each load is atomic.
//
// The clock is read behind the journeys. A scan may take long where CPUs are busy, and by a time from before it what began
// meanwhile would have no age.
func scanBucket(open []record.Record, b *bpfobj.TracerBucketSlots, journeys *bpfobj.TracerBucketJourneys, clock func() time.Duration,
	held func(key uint64, r *record.Record) bool) (_ []record.Record, torn int) {
	known := len(open)
	var keys [len(b.Tag)]uint64
	for slot := range b.Tag {
		before := loadHead(b, slot)
		if before.tag == 0 || !isOpen(before.state) {
			continue
		}
		j := loadWords(&journeys.Journey[slot])
		if !before.isOf(&j) || loadHead(b, slot) != before {
			torn++
			continue
		}
		r := record.Record{Kind: record.InFlight}
		convertJourney(&j, &r)
		if r.Len == 0 || !before.isAt(&r.Hops[r.Len-1]) {
			torn++
			continue
		}
		keys[len(open)-known] = before.tag
		open = append(open, r)
	}
	if len(open) == known {
		return open, torn
	}
	now := clock()
	alive := open[:known]
	for i := range open[known:] {
		r := &open[known+i]
		last := r.Hops[r.Len-1]
		age := now - last.Time
		queued := last.Hook == record.Egress || last.Hook == record.Dequeue || last.Hook == record.PodQueue
		if age > staleQueued || !queued && age > stale && !held(keys[i], r) {
			continue
		}
		r.Time = now
		alive = append(alive, *r)
	}
	return alive, torn
}

// The ages from which on slots are stale; see bpf/record.h.
const (
	stale       = time.Duration(bpfobj.TracerTableSTALE_SECONDS) * time.Second
	staleQueued = time.Duration(bpfobj.TracerTableSTALE_QUEUED_SECONDS) * time.Second
)

// head is what a slot has beside its journey.
type head struct {
	tag   uint64
	state bpfobj.TracerSlotState
}

func loadHead(b *bpfobj.TracerBucketSlots, slot int) head {
	return head{tag: atomic.LoadUint64(&b.Tag[slot]), state: loadWords(&b.State[slot])}
}

// isOf tells whether a journey is that of the slot, as far as 16 bits can tell.
func (h head) isOf(j *bpfobj.TracerJourney) bool { return uint16(j.Fingerprint) == h.state.Fingerprint }

// isAt tells whether a hop is the last one of the slot.
func (h head) isAt(last *record.Hop) bool {
	return last.Hook == record.Hook(h.state.Hook) && last.Ifindex == int(h.state.Ifindex)
}

// loadWords copies what consists of words of eight bytes, at an address that is a multiple of that, one after the other.
func loadWords[T bpfobj.TracerSlotState | bpfobj.TracerJourney | bpfobj.TracerWatched](from *T) (to T) {
	const word = unsafe.Sizeof(uint64(0))
	n := unsafe.Sizeof(to) / word
	source, copied := unsafe.Slice((*uint64)(unsafe.Pointer(from)), n), unsafe.Slice((*uint64)(unsafe.Pointer(&to)), n)
	for i := range source {
		copied[i] = atomic.LoadUint64(&source[i])
	}
	return to
}

// Monotonic is the clock of bpf_ktime_get_ns.
func Monotonic() time.Duration {
	var t unix.Timespec
	// It fails only for a clock that does not exist.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}
