package loader

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// scanChunk is how many buckets are mapped at a time: all pages mapped count as resident.
const scanChunk = 1024

// table is where the in-flight table is in the kernel.
type table struct {
	variables *ebpf.Map // one value, and in it
	marksAt   uint32    // where the buckets' marks begin
	journeys  *ebpf.Map
}

// scan reads the open journeys: packets that are inside this node now. Slots that change while they are read are counted
// as torn and left out; what is too old to be alive is left out too.
func (t table) scan(now time.Duration) (open []record.Record, torn int, err error) {
	for from := uint32(0); from < uint32(bpfobj.TracerTableBUCKETS) && err == nil; from += scanChunk {
		err = view(t.variables, t.marksAt, from, scanChunk, func(marks []bpfobj.TracerMarks) error {
			if !slices.ContainsFunc(marks, anyOpen) {
				return nil
			}
			return view(t.journeys, 0, from, scanChunk, func(journeys []bpfobj.TracerJourneys) error {
				for i := range marks {
					var t int
					open, t = scanBucket(open, &marks[i], &journeys[i], now)
					torn += t
				}
				return nil
			})
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("map the in-flight table: %w", err)
	}
	return open, torn, nil
}

// view lets f see n values of an array, from one of them on, which begins somewhere in a map's memory.
func view[T any](m *ebpf.Map, at, from, n uint32, f func([]T) error) error {
	size := uint32(unsafe.Sizeof(*new(T)))
	memory, err := unix.Mmap(m.FD(), int64(at+from*size), int(n*size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return errors.Join(f(unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), n)), unix.Munmap(memory))
}

// isOpen tells the marks of packets that are followed and inside this node.
func isOpen(m bpfobj.TracerMark) bool {
	return m.Flags&uint8(bpfobj.TracerFlagFLAG_LIGHT|bpfobj.TracerFlagFLAG_DELIVERED) == 0
}

func anyOpen(b bpfobj.TracerMarks) bool {
	for way, tag := range b.Tag {
		if tag != 0 && isOpen(b.Mark[way]) {
			return true
		}
	}
	return false
}

// scanBucket adds the open journeys of a bucket, and counts those that changed while they were read.
func scanBucket(open []record.Record, b *bpfobj.TracerMarks, journeys *bpfobj.TracerJourneys, now time.Duration) (_ []record.Record, torn int) {
	for way := range b.Tag {
		tag := atomic.LoadUint64(&b.Tag[way])
		mark := b.Mark[way]
		if tag == 0 || !isOpen(mark) {
			continue
		}
		j := journeys.Journey[way]
		if atomic.LoadUint64(&b.Tag[way]) != tag || b.Mark[way] != mark || uint16(j.Fingerprint) != mark.Fingerprint {
			torn++
			continue
		}
		r := record.Record{Kind: record.InFlight, Time: now}
		convertJourney(&j, &r)
		if r.Len > 0 && now-r.Hops[r.Len-1].Time <= ageLimit(r.Hops[r.Len-1].Hook) {
			open = append(open, r)
		}
	}
	return open, torn
}

// ageLimit is the age behind which a slot is stale: as in bpf/table.bpf.h.
func ageLimit(last record.Hook) time.Duration {
	if last == record.Egress || last == record.Dequeue {
		return time.Duration(bpfobj.TracerTableAGE_QUEUED_SECONDS) * time.Second
	}
	return time.Duration(bpfobj.TracerTableAGE_ELSEWHERE_SECONDS) * time.Second
}

// Monotonic is the clock of bpf_ktime_get_ns.
func Monotonic() time.Duration {
	var t unix.Timespec
	// It fails only for a clock that does not exist.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}
