package loader

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// FuzzRecord reads what the ring buffer could hold, were it damaged: a record or an error.
func FuzzRecord(f *testing.F) {
	kinds := []bpfobj.TracerRecordKind{
		bpfobj.TracerRecordKindRECORD_JOURNEY, bpfobj.TracerRecordKindRECORD_DROP, bpfobj.TracerRecordKindRECORD_SPLIT, bpfobj.TracerRecordKindRECORD_TCP, 99,
	}
	for _, kind := range kinds {
		raw := make([]byte, unsafe.Sizeof(bpfobj.TracerRecord{}))
		for i := range raw {
			raw[i] = byte(i)
		}
		binary.LittleEndian.PutUint32(raw, uint32(kind))
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The ring buffer's records are aligned.
		words := make([]uint64, len(raw)/8+1)
		aligned := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*8)[:len(raw)]
		copy(aligned, raw)
		var r record.Record
		if isTCP(aligned) {
			if k, err := decodeTCP(aligned); err == nil {
				convertTCP(k, &r)
				if r.TCP == nil || r.Kind != record.Connection {
					t.Errorf("a connection's record became %+v", r)
				}
			}
			return
		}
		k, err := decode(aligned)
		if err != nil || convert(k, fixedNames{}, &r) != nil {
			return
		}
		if r.Len < 0 || r.Len > record.MaxHops || r.Len+r.Skipped != int(k.Journey.Hops) {
			t.Errorf("%d hops became %d and %d skipped", k.Journey.Hops, r.Len, r.Skipped)
		}
		if n := len(r.Passed()); n != r.Len {
			t.Errorf("%d hooks passed of %d", n, r.Len)
		}
		if r.First.Source.Addr().Is4In6() || r.First.Destination.Addr().Is4In6() {
			t.Errorf("IPv4 in its mapped form: %v", r.First)
		}
	})
}
