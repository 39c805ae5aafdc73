package agent

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"tracer/internal/record"
)

// samples are records of all sorts, with every field used by some.
func samples() []record.Record {
	flow := func(src, dst string, protocol record.Protocol) record.Flow {
		return record.Flow{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst), Protocol: protocol}
	}
	packet := sent(7, time.Hour)
	packet.First, packet.Last = flow("10.244.1.2:40000", "10.96.0.10:80", 6), flow("10.244.1.2:40000", "10.244.2.2:8080", 6)
	packet.SKBBytes, packet.IPBytes, packet.WireBytes, packet.Segments, packet.Weight = 65550, 65536, 68000, 45, 1<<32-1
	packet.Encapsulated, packet.SYN = true, true

	long := record.Record{Kind: record.Split, Time: time.Hour, Len: record.MaxHops, Skipped: 3, SplitAt: 4, Fragment: true, Weight: 1}
	long.First = flow("[fd00::1:2]:1", "[2001:db8::1]:65535", 17)
	long.Last = flow("10.0.0.1:1", "[2001:db8::1]:65535", 17) // translated
	for i := range long.Hops {
		long.Hops[i] = record.Hop{Hook: record.Hook(i % 6), Ifindex: 1<<31 - 1 - i, Time: time.Duration(1<<62 - i)}
	}
	long.Hops[5].Time = 0

	drop := record.Record{Kind: record.Dropped, Time: time.Minute, Reason: "QDISC_DROP", Location: "__dev_queue_xmit", Attributed: true}
	drop.First = flow("10.244.1.2:0", "10.244.2.2:0", 1)
	drop.Last = drop.First

	connection := record.Record{Kind: record.Connection, Time: time.Minute, TCP: &record.TCP{RTT: time.Second}}
	connection.First = flow("[fd00::1]:1", "[fd00::2]:2", 6)
	connection.Last = connection.First
	return []record.Record{packet, long, drop, sent(1, 0), connection}
}

func TestPacked(t *testing.T) {
	t.Parallel()
	unused := map[string]bool{}
	for field := range reflect.TypeFor[record.Record]().NumField() {
		unused[reflect.TypeFor[record.Record]().Field(field).Name] = true
	}
	for i, want := range samples() {
		for name := range unused {
			if !reflect.ValueOf(want).FieldByName(name).IsZero() {
				delete(unused, name)
			}
		}
		packed := pack([]byte("before"), &want)
		got := record.Record{Reason: "old"}
		rest, withExtra := unpack(append(packed, "behind"...)[len("before"):], &got)
		if string(rest) != "behind" || withExtra != hasExtra(&want) {
			t.Errorf("%d: %q is left, an extra: %v", i, rest, withExtra)
		}
		want.Reason, want.Location, want.TCP = "", "", nil
		if got != want {
			t.Errorf("%d: unpacked\n%+v, want\n%+v", i, got, want)
		}
		if size := len(packed) - len("before"); size > mostPacked {
			t.Errorf("%d: packed in %d bytes", i, size)
		}
	}
	if len(unused) > 0 {
		t.Errorf("no sample has %v: packed or not?", unused)
	}
}

// TestQueue pushes and pops by steps of all sizes, and compares with the order in which records came.
func TestQueue(t *testing.T) {
	t.Parallel()
	var q queue
	kinds := samples()
	pushed, popped := 0, 0
	nth := func(n int) record.Record {
		r := kinds[n%len(kinds)]
		r.SKBBytes = uint32(n)
		return r
	}
	push := func(n int) {
		for range n {
			r := nth(pushed)
			q.push(&r)
			pushed++
		}
	}
	pop := func(n int) {
		for range n {
			if got, want := *q.front(), nth(popped); got != want {
				t.Fatalf("record %d is %s, want %s", popped, fmt.Sprint(got), fmt.Sprint(want))
			}
			q.pop()
			popped++
		}
	}
	for _, step := range []int{1, 2, 3, 254, 255, 256, 257, 1000, 5000} {
		push(step)
		pop(step) // to the last
		push(2 * step)
		pop(step)
		push(step)
		q.pop() // unseen
		popped++
		pop(2*step - 1)
		if q.len != 0 || pushed != popped {
			t.Fatalf("%d left of %d pushed and %d popped", q.len, pushed, popped)
		}
	}
}

// TestQueueAllocatesNothing as long as as many records go as come.
func TestQueueAllocatesNothing(t *testing.T) {
	var q queue
	r := samples()[0]
	for range 1000 {
		q.push(&r)
	}
	if n := testing.AllocsPerRun(100, func() {
		for range batchSize {
			q.push(&r)
		}
		for range batchSize {
			q.pop()
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d records", n, batchSize)
	}
}

func BenchmarkQueue(b *testing.B) {
	var q queue
	r := samples()[0]
	for range maxWaiting {
		q.push(&r)
	}
	b.ReportAllocs()
	for b.Loop() {
		q.push(&r)
		q.front()
		q.pop()
	}
}
