package latenames

import (
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
	packet.Encapsulated, packet.SYN, packet.Fingerprint = true, true, 1<<64-1

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
	misled := drop // to another MAC
	misled.FrameMAC, misled.Missent = [6]byte{2, 0xde, 0xad}, true

	connection := record.Record{Kind: record.Connection, Time: time.Minute, TCP: &record.TCP{RTT: time.Second}}
	connection.First = flow("[fd00::1]:1", "[fd00::2]:2", 6)
	connection.Last = connection.First
	request := connection
	request.Kind, request.TCP, request.Request = record.Requested, nil, &record.Request{Outcome: record.Answered, Took: time.Second}
	return []record.Record{packet, long, drop, misled, sent(1, 0), connection, request}
}

func TestEncoding(t *testing.T) {
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
		encoded := encode([]byte("before"), &want)
		got := record.Record{Reason: "old"}
		rest, withExtra := decode(append(encoded, "behind"...)[len("before"):], &got)
		if string(rest) != "behind" || withExtra != hasExtra(&want) {
			t.Errorf("%d: %q is left, an extra: %v", i, rest, withExtra)
		}
		(&extra{}).set(&want)
		if got != want {
			t.Errorf("%d: decoded\n%+v, want\n%+v", i, got, want)
		}
		if size := len(encoded) - len("before"); size > maxEncoded {
			t.Errorf("%d: encoded in %d bytes", i, size)
		}
	}
	if len(unused) > 0 {
		t.Errorf("no sample has %v: encoded or not?", unused)
	}
}
