package latenames

import (
	"net/netip"
	"testing"
	"time"

	"tracer/internal/record"
)

// FuzzEncoding encodes records and reads them again.
func FuzzEncoding(f *testing.F) {
	f.Add(uint64(1), []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, uint16(80), uint8(3), uint8(9), int64(1), int64(-1))
	f.Add(^uint64(0), make([]byte, 16), []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, uint16(65535), uint8(255), uint8(record.MaxHops), int64(1)<<62, int64(-1)<<62)
	f.Fuzz(func(t *testing.T, n uint64, src, dst []byte, port uint16, flags, hops uint8, first, step int64) {
		source, ok := netip.AddrFromSlice(src)
		destination, ok2 := netip.AddrFromSlice(dst)
		if !ok || !ok2 || source.Is4In6() || destination.Is4In6() {
			return
		}
		one := record.Flow{Source: netip.AddrPortFrom(source, port), Destination: netip.AddrPortFrom(destination, ^port), Protocol: record.Protocol(n)}
		r := record.Record{
			Kind: record.Kind(n%5 + 1), First: one, Last: one, Time: time.Duration(first), Len: int(hops % (record.MaxHops + 1)),
			Skipped: int(hops), SplitAt: int(hops), SKBBytes: uint32(n), IPBytes: uint32(n >> 1), WireBytes: uint32(n >> 2), Segments: uint32(n >> 3), Weight: uint32(n >> 4), Fingerprint: n,
			Encapsulated: flags&1 != 0, Fragment: flags&2 != 0, Attributed: flags&4 != 0, SYN: flags&8 != 0, Missent: flags&16 != 0,
		}
		if flags&32 != 0 {
			r.Last.Source, r.Last.Destination = r.First.Destination, r.First.Source
		}
		for i := range r.Hops[:r.Len] {
			r.Hops[i] = record.Hop{Hook: record.Hook(n >> i), Ifindex: int(uint32(n) >> i), Time: time.Duration(first + int64(i)*step)}
		}
		encoded := encode(nil, &r)
		if len(encoded) > maxEncoded {
			t.Errorf("%d bytes", len(encoded))
		}
		var got record.Record
		rest, withExtra := decode(append(encoded, 1, 2, 3), &got)
		if withExtra {
			e := extraOf(&r)
			e.set(&got)
		}
		if len(rest) != 3 || got != r {
			t.Errorf("%+v came back as %+v, with %d bytes left", r, got, len(rest))
		}
	})
}
