package loader

import (
	"fmt"
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

// scanInflight reads the open journeys from the in-flight table: packets that are inside this node now. Slots that
// change while they are read are counted as torn and left out; what is too old to be alive is left out too.
func scanInflight(table *ebpf.Map, now time.Duration) (open []record.Record, torn int, err error) {
	const size = unsafe.Sizeof(bpfobj.TracerBucket{})
	for from := uintptr(0); from < uintptr(bpfobj.TracerTableBUCKETS); from += scanChunk {
		memory, err := unix.Mmap(table.FD(), int64(from*size), int(scanChunk*size), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return nil, 0, fmt.Errorf("map the in-flight table: %w", err)
		}
		buckets := unsafe.Slice((*bpfobj.TracerBucket)(unsafe.Pointer(unsafe.SliceData(memory))), scanChunk)
		for i := range buckets {
			var t int
			open, t = scanBucket(open, &buckets[i], now)
			torn += t
		}
		if err := unix.Munmap(memory); err != nil {
			return nil, 0, fmt.Errorf("unmap the in-flight table: %w", err)
		}
	}
	return open, torn, nil
}

// scanBucket adds the open journeys of a bucket, and counts those that changed while they were read.
func scanBucket(open []record.Record, b *bpfobj.TracerBucket, now time.Duration) (_ []record.Record, torn int) {
	for way := range b.Tag {
		tag := atomic.LoadUint64(&b.Tag[way])
		if tag == 0 {
			continue
		}
		mark := b.Mark[way]
		if mark.Flags&uint8(bpfobj.TracerFlagFLAG_LIGHT|bpfobj.TracerFlagFLAG_DELIVERED) != 0 {
			continue
		}
		j := b.Journey[way]
		if atomic.LoadUint64(&b.Tag[way]) != tag || b.Mark[way] != mark || uint16(j.Fingerprint) != mark.Fingerprint {
			torn++
			continue
		}
		r := record.Record{Kind: record.Open, Time: now}
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
