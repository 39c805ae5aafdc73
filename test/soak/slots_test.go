package main

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// TestSlots counts the connections in a table of two buckets. Each has one that is alive, one that is not, one of another network namespace, and a
// free slot.
func TestSlots(t *testing.T) {
	t.Parallel()
	long, short := &btf.Int{Name: "long", Size: 8}, &btf.Int{Name: "int", Size: 4}
	slot := &btf.Struct{Name: "slot", Size: 24, Members: []btf.Member{
		{Name: "tag", Type: &btf.Typedef{Name: "__u64", Type: long}}, {Name: "time_ns", Type: long, Offset: 64},
		{Name: "other", Type: short, Offset: 128}, {Name: "jiffies", Type: short, Offset: 160},
	}}
	bucket := &btf.Struct{Name: "bucket", Size: 104, Members: []btf.Member{
		{Name: "index", Type: long}, {Name: "slot", Type: &btf.Array{Type: slot, Nelems: 4}, Offset: 64},
	}}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: bucket.Size, MaxEntries: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const now = time.Hour
	value := make([]byte, bucket.Size)
	for i, s := range []struct {
		tag     uint64
		used    time.Duration
		jiffies uint32
	}{{1, now - time.Second, 5}, {2, now - 2*time.Minute, 5}, {3, now - time.Second, 0}, {0, now - time.Second, 5}} {
		at := value[8+24*i:]
		binary.NativeEndian.PutUint64(at, s.tag)
		binary.NativeEndian.PutUint64(at[8:], uint64(s.used))
		binary.NativeEndian.PutUint32(at[20:], s.jiffies)
	}
	for i := range uint32(2) {
		if err := m.Put(i, value); err != nil {
			t.Fatal(err)
		}
	}
	all := &table{values: m, buffer: make([]byte, bucket.Size), used: liveConnections(bucket)}
	if n, err := all.count(now); err != nil || n != 2 {
		t.Errorf("%d slots are used, %v; want 2", n, err)
	}
}

// TestOpenJourneys counts the slots with a journey, of those in flight.
func TestOpenJourneys(t *testing.T) {
	t.Parallel()
	flag := &btf.Enum{Name: "flag", Size: 4, Values: []btf.EnumValue{{Name: "FLAG_UNSAMPLED", Value: 1}, {Name: "FLAG_LEAVES", Value: 2}, {Name: "FLAG_REPORTED", Value: 8}}}
	long, char := &btf.Int{Name: "long", Size: 8}, &btf.Int{Name: "char", Size: 1}
	state := &btf.Struct{Name: "state", Size: 8, Members: []btf.Member{{Name: "flags", Type: char, Offset: 40}}}
	bucket := &btf.Struct{Name: "bucket", Size: 64, Members: []btf.Member{
		{Name: "tag", Type: &btf.Array{Type: long, Nelems: 4}}, {Name: "state", Type: &btf.Array{Type: state, Nelems: 4}, Offset: 256},
	}}
	builder, err := btf.NewBuilder([]btf.Type{flag}, nil)
	if err != nil {
		t.Fatal(err)
	}
	types, err := builder.Spec()
	if err != nil {
		t.Fatal(err)
	}
	const at = 16
	used, err := openJourneys(types, btf.VarSecinfo{Type: &btf.Var{Name: "inflight", Type: &btf.Array{Type: bucket, Nelems: 2}}, Offset: at})
	if err != nil {
		t.Fatal(err)
	}
	memory := make([]byte, at+2*64)
	for b := range 2 { // in each bucket one with a journey, one without, one whose journey was sent, and a free one
		for slot, s := range []struct {
			tag   uint64
			flags byte
		}{{7, 2}, {7, 3}, {7, 8}, {0, 0}} {
			binary.NativeEndian.PutUint64(memory[at+64*b+8*slot:], s.tag)
			memory[at+64*b+32+8*slot+5] = s.flags
		}
	}
	if n := used(memory, 0); n != 2 {
		t.Errorf("%d journeys are open, want 2", n)
	}
}
