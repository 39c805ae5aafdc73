package pairpath

import (
	"math/bits"
	"testing"
	"time"

	"tracer/internal/record"
)

// fingerprintOf is a TCP packet's, as bpf/fingerprint.bpf.h has it.
func fingerprintOf(id, sequence uint32) uint64 {
	x := (protocolTCP ^ (uint64(id)<<32 | uint64(sequence))) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// TestIPID finds id and sequence number in a fingerprint, where the number is as in the header.
func TestIPID(t *testing.T) {
	t.Parallel()
	for _, id := range []uint32{0, 1, 0x1234, 0xffff, 0xfffff} {
		for _, number := range []uint32{0, 1, 0xdeadbeef, 0xffffffff} {
			fingerprint := fingerprintOf(id, bits.ReverseBytes32(number))
			if gotID, got := ipID(fingerprint), sequence(fingerprint); gotID != id || got != number {
				t.Errorf("id %#x, sequence %#x: %#x, %#x", id, number, gotID, got)
			}
		}
	}
}

// TestNumbered keeps only packets that no other one is like.
func TestNumbered(t *testing.T) {
	t.Parallel()
	const web6, api6 = "[fd00:1::7]:40000", "[fd00:2::7]:8080"
	for name, test := range map[string]struct {
		src, dst string
		protocol record.Protocol
		id       uint32
		bytes    uint32
		weight   uint32
		want     uint64
	}{
		"IPv4, an acknowledgement":           {web, api, 6, 7, 52, 100, 1},
		"IPv4 without an id, a SYN-ACK":      {web, api, 6, 0, 60, 1, 0},
		"IPv4 without an id, with payload":   {web, api, 6, 0, 500, 100, 1},
		"IPv6, an acknowledgement":           {web6, api6, 6, 0x12345, 72, 1, 0},
		"IPv6, one that answers three holes": {web6, api6, 6, 0x12345, 100, 1, 0},
		"IPv6, with payload":                 {web6, api6, 6, 0x12345, 1000, 100, 1},
		"UDP, all followed":                  {web, api, 17, 0, 100, 1, 1},
		"UDP, some followed":                 {web, api, 17, 0, 100, 4, 0},
		"ICMP, all followed":                 {web, api, 1, 0, 84, 1, 1},
	} {
		r := NewRecorder(Query{Src: addresses("10.244.1.7", "fd00:1::7"), Dst: addresses("10.244.2.7", "fd00:2::7")})
		rec := packet(t, record.Finished, 1, test.src, test.dst, sends)
		rec.Fingerprint, rec.IPBytes, rec.Weight = fingerprintOf(test.id, 99), test.bytes, test.weight
		rec.First.Protocol, rec.Last.Protocol = test.protocol, test.protocol
		r.Add(&rec, devices)
		half := r.Half(time.Second, 0, nil)
		if uint64(len(half.There.Left)) != test.want || half.There.Packets != uint64(test.weight) {
			t.Errorf("%s: %d left, want %d; %d packets", name, len(half.There.Left), test.want, half.There.Packets)
		}
	}
}

// TestPassedOver has flows of UDP, each of which begins with packets that stand for themselves: of one many are passed over, which then is not
// known by its numbers, and another takes the weight of a packet for which there was no room.
func TestPassedOver(t *testing.T) {
	t.Parallel()
	r := newTestRecorder()
	add := func(fingerprint uint64, src string, weight uint32) {
		rec := packet(t, record.Finished, fingerprint, src, api, sends)
		rec.First.Protocol, rec.Last.Protocol, rec.Weight = 17, 17, weight
		r.Add(&rec, devices)
	}
	const other = "10.244.1.7:40001"
	for i := range uint64(10) {
		add(i, web, 1)
		add(i, other, 1)
	}
	add(10, web, 16)
	add(11, web, 1)
	add(10, other, 2)
	if half := r.Half(time.Second, 0, nil); len(half.There.Left) != 11 || half.There.LeftTotal != 23 {
		t.Errorf("%d of %d left, want the other flow's 11 of 23", len(half.There.Left), half.There.LeftTotal)
	}
}
