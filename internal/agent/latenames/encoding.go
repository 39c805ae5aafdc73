package latenames

import (
	"encoding/binary"
	"net/netip"
	"time"

	"tracer/internal/record"
)

// maxEncoded is more bytes than an encoded record ever takes; most take a quarter of it.
const maxEncoded = 320

// The flags that an encoded record begins with.
const (
	flagEncapsulated = 1 << iota
	flagFragment
	flagAttributed
	flagSYN
	flagIPv4     // all addresses are
	flagTwoFlows // NAT made Last another one
	flagExtra    // has what few records have
)

// extra is what few records have, and is not encoded.
type extra struct {
	reason, location string
	frameMAC         [6]byte
	missent          bool
	tcp              *record.TCP
	request          *record.Request
}

func extraOf(r *record.Record) extra {
	return extra{r.Reason, r.Location, r.FrameMAC, r.Missent, r.TCP, r.Request}
}

func (e *extra) set(r *record.Record) {
	r.Reason, r.Location, r.FrameMAC, r.Missent, r.TCP, r.Request = e.reason, e.location, e.frameMAC, e.missent, e.tcp, e.request
}

// encode appends a record to b, less its extra: it takes a seventh of a record.Record.
func encode(b []byte, r *record.Record) []byte {
	flags := byte(0)
	set := func(bit byte, is bool) {
		if is {
			flags |= bit
		}
	}
	v4 := r.First.Source.Addr().Is4() && r.First.Destination.Addr().Is4() && r.Last.Source.Addr().Is4() && r.Last.Destination.Addr().Is4()
	set(flagEncapsulated, r.Encapsulated)
	set(flagFragment, r.Fragment)
	set(flagAttributed, r.Attributed)
	set(flagSYN, r.SYN)
	set(flagIPv4, v4)
	set(flagTwoFlows, r.Last != r.First)
	set(flagExtra, hasExtra(r))
	b = append(b, flags, byte(r.Kind), byte(r.Len))
	b = encodeFlow(b, &r.First, v4)
	if flags&flagTwoFlows != 0 {
		b = encodeFlow(b, &r.Last, v4)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time))
	b = binary.LittleEndian.AppendUint64(b, r.Fingerprint)
	before := r.Time
	for i := range r.Hops[:r.Len] {
		h := &r.Hops[i]
		b = append(b, byte(h.Hook))
		b = binary.AppendUvarint(b, uint64(h.Ifindex))
		b = binary.AppendVarint(b, int64(h.Time-before))
		before = h.Time
	}
	for _, n := range [...]uint64{
		uint64(r.Skipped), uint64(r.SplitAt), uint64(r.SKBBytes), uint64(r.IPBytes), uint64(r.WireBytes), uint64(r.Segments), uint64(r.Weight),
	} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func hasExtra(r *record.Record) bool { return extraOf(r) != extra{} }

func encodeFlow(b []byte, f *record.Flow, v4 bool) []byte {
	for _, end := range [...]netip.AddrPort{f.Source, f.Destination} {
		if v4 {
			a := end.Addr().As4()
			b = append(b, a[:]...)
		} else {
			a := end.Addr().As16()
			b = append(b, a[:]...)
		}
		b = binary.LittleEndian.AppendUint16(b, end.Port())
	}
	return append(b, byte(f.Protocol))
}

// decode reads a record from the beginning of b, and returns the rest. withExtra tells that it had one.
func decode(b []byte, r *record.Record) (rest []byte, withExtra bool) {
	flags := b[0]
	*r = record.Record{
		Kind: record.Kind(b[1]), Len: int(b[2]),
		Encapsulated: flags&flagEncapsulated != 0, Fragment: flags&flagFragment != 0,
		Attributed: flags&flagAttributed != 0, SYN: flags&flagSYN != 0,
	}
	b = decodeFlow(b[3:], &r.First, flags&flagIPv4 != 0)
	r.Last = r.First
	if flags&flagTwoFlows != 0 {
		b = decodeFlow(b, &r.Last, flags&flagIPv4 != 0)
	}
	r.Time, r.Fingerprint = time.Duration(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:])
	b = b[16:]
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		b = b[size:]
		return n
	}
	before := r.Time
	for i := range r.Hops[:r.Len] {
		h := &r.Hops[i]
		h.Hook = record.Hook(b[0])
		b = b[1:]
		h.Ifindex = int(number())
		since, size := binary.Varint(b)
		b = b[size:]
		before += time.Duration(since)
		h.Time = before
	}
	r.Skipped, r.SplitAt = int(number()), int(number())
	r.SKBBytes, r.IPBytes, r.WireBytes = uint32(number()), uint32(number()), uint32(number())
	r.Segments, r.Weight = uint32(number()), uint32(number())
	return b, flags&flagExtra != 0
}

func decodeFlow(b []byte, f *record.Flow, v4 bool) (rest []byte) {
	for _, end := range [...]*netip.AddrPort{&f.Source, &f.Destination} {
		var a netip.Addr
		if v4 {
			a, b = netip.AddrFrom4([4]byte(b)), b[4:]
		} else {
			a, b = netip.AddrFrom16([16]byte(b)).Unmap(), b[16:]
		}
		*end = netip.AddrPortFrom(a, binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	f.Protocol = record.Protocol(b[0])
	return b[1:]
}
