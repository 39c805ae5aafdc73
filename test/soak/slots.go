package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// table is one in which the programs find things by a hash of their own: an array of buckets, each with a few slots. A slot that holds
// something has a tag that is not 0.
type table struct {
	name   string
	memory *ebpf.Memory // of a variable, or nil
	values *ebpf.Map    // of a map
	buffer []byte       // for the memory, or a value
	// used counts the slots in use of what is in the buffer, at a time by CLOCK_MONOTONIC.
	used func(buffer []byte, now time.Duration) int
}

// openTable returns the table that a map is or, of the variables, has in it; nil if there is none. What it has where is in the map's BTF.
func openTable(m *ebpf.Map, info *ebpf.MapInfo) (*table, error) {
	const variables, connections = "tracer_inflight", "tracer_conns"
	if info.Name != variables && info.Name != connections {
		return nil, nil
	}
	id, ok := info.BTFID()
	if !ok {
		return nil, fmt.Errorf("%s has no BTF", info.Name)
	}
	handle, err := btf.NewHandleFromID(id)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	types, err := handle.Spec(nil)
	if err != nil {
		return nil, err
	}
	if info.Name == connections {
		var bucket *btf.Struct
		if err := types.TypeByName("connection_bucket", &bucket); err != nil {
			return nil, err
		}
		return &table{name: info.Name, values: m, buffer: make([]byte, info.ValueSize), used: liveConnections(bucket)}, nil
	}
	var section *btf.Datasec
	if err := types.TypeByName(".bss", &section); err != nil {
		return nil, err
	}
	for _, v := range section.Vars {
		if v.Type.TypeName() != "inflight" {
			continue
		}
		used, err := openJourneys(types, v)
		if err != nil {
			return nil, err
		}
		memory, err := m.Memory()
		if err != nil {
			return nil, err
		}
		return &table{name: info.Name, memory: memory, buffer: make([]byte, memory.Size()), used: used}, nil
	}
	return nil, errors.New("no variable inflight")
}

// openJourneys counts the packets in flight that have a journey: of each the tag and its state are in the variable v, and the journey is in
// the map tracer_journeys. Slots of others stay as they are until the sk_buff's address is used again, wherever on the machine: so how many there
// are says nothing.
func openJourneys(types *btf.Spec, v btf.VarSecinfo) (used func([]byte, time.Duration) int, err error) {
	var flag *btf.Enum
	if err := types.TypeByName("flag", &flag); err != nil {
		return nil, err
	}
	var over byte
	for _, value := range flag.Values {
		if value.Name == "FLAG_UNSAMPLED" || value.Name == "FLAG_REPORTED" {
			over |= byte(value.Value)
		}
	}
	buckets := v.Type.(*btf.Var).Type
	tags, flags := fieldsIn(buckets, "tag", "", v.Offset), fieldsIn(buckets, "flags", "", v.Offset)
	return func(b []byte, _ time.Duration) (count int) {
		for i, at := range tags {
			if binary.NativeEndian.Uint64(b[at:]) != 0 && b[flags[i]]&over == 0 {
				count++
			}
		}
		return count
	}, nil
}

// liveConnections counts those of which a record was made within a minute. A slot is never freed, but given to another connection when that
// needs it. Those of other network namespaces have slots too, so that they need not be looked at for each segment, but no record.
func liveConnections(bucket btf.Type) (used func([]byte, time.Duration) int) {
	const recently = time.Minute
	tags, times, recorded := fieldsIn(bucket, "tag", "", 0), fieldsIn(bucket, "time_ns", "", 0), fieldsIn(bucket, "jiffies", "", 0)
	return func(b []byte, now time.Duration) (count int) {
		for i, at := range tags {
			if binary.NativeEndian.Uint64(b[at:]) != 0 && binary.NativeEndian.Uint32(b[recorded[i]:]) != 0 &&
				now-time.Duration(binary.NativeEndian.Uint64(b[times[i]:])) < recently {
				count++
			}
		}
		return count
	}
}

// fieldsIn returns where there are numbers with a name in what has a type and is itself called so at an offset.
func fieldsIn(t btf.Type, name, called string, at uint32) (offsets []uint32) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Array:
		size, err := btf.Sizeof(t.Type)
		for i := range t.Nelems {
			if err == nil {
				offsets = append(offsets, fieldsIn(t.Type, name, called, at+i*uint32(size))...)
			}
		}
	case *btf.Struct:
		for _, m := range t.Members {
			offsets = append(offsets, fieldsIn(m.Type, name, m.Name, at+m.Offset.Bytes())...)
		}
	case *btf.Int:
		if called == name {
			offsets = append(offsets, at)
		}
	}
	return offsets
}

// count returns how many slots are in use at a time by CLOCK_MONOTONIC.
func (t *table) count(now time.Duration) (count int, err error) {
	if t.memory != nil {
		if _, err := t.memory.ReadAt(t.buffer, 0); err != nil {
			return 0, err
		}
		return t.used(t.buffer, now), nil
	}
	for bucket := range t.values.MaxEntries() {
		if err := t.values.Lookup(bucket, t.buffer); err != nil {
			return 0, err
		}
		count += t.used(t.buffer, now)
	}
	return count, nil
}
