package loader

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unsafe"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// decode views the bytes of a ring buffer record as what bpf/record.h says they are.
func decode(raw []byte) (*bpfobj.TracerRecord, error) {
	if len(raw) < int(unsafe.Sizeof(bpfobj.TracerRecord{})) {
		return nil, fmt.Errorf("record of %d bytes, want %d", len(raw), unsafe.Sizeof(bpfobj.TracerRecord{}))
	}
	return (*bpfobj.TracerRecord)(unsafe.Pointer(unsafe.SliceData(raw))), nil
}

// symbols names what the kernel gives as a number.
type symbols interface {
	reason(uint32) string
	location(uint64) string
}

// convert fills r from what the kernel wrote.
func convert(k *bpfobj.TracerRecord, names symbols, r *record.Record) error {
	switch bpfobj.TracerRecordKind(k.Kind) {
	case bpfobj.TracerRecordKindRECORD_JOURNEY:
		r.Kind = record.Finished
	case bpfobj.TracerRecordKindRECORD_DROP:
		r.Kind = record.Dropped
	case bpfobj.TracerRecordKindRECORD_SPLIT:
		r.Kind = record.Split
	default:
		return fmt.Errorf("record of unknown kind %d", k.Kind)
	}
	convertJourney(&k.Journey, r)
	r.Time = time.Duration(k.TimeNs)
	r.Reason, r.Location, r.TCP, r.Request = "", "", nil, nil
	r.FrameMAC, r.Missent = [6]byte{}, false
	if r.Kind == record.Dropped {
		r.Reason, r.Location = names.reason(k.Reason), names.location(k.Location)
		convertOtherHost(&k.Journey, r)
	}
	return nil
}

func convertJourney(j *bpfobj.TracerJourney, r *record.Record) {
	r.First, r.Last = convertFlow(&j.First), convertFlow(&j.Last)
	r.Fingerprint = j.Fingerprint
	r.SKBBytes, r.IPBytes, r.WireBytes = j.SkbBytes, j.IpBytes, j.WireBytes
	r.Segments, r.Weight = uint32(j.Segments), j.Weight
	r.SplitAt = int(j.SplitAt)
	r.Encapsulated = j.Flags&uint16(bpfobj.TracerFlagFLAG_ENCAP) != 0
	r.Fragment = j.Flags&uint16(bpfobj.TracerFlagFLAG_FRAGMENT) != 0
	r.Attributed = j.Flags&uint16(bpfobj.TracerFlagFLAG_UNATTRIBUTED) == 0
	r.SYN = j.Flags&uint16(bpfobj.TracerFlagFLAG_SYN) != 0

	const first = int(bpfobj.TracerHopsHOPS_FIRST)
	n := int(j.Hops)
	r.Len, r.Skipped = n, 0
	if n > record.MaxHops {
		r.Len, r.Skipped = record.MaxHops, n-record.MaxHops
	}
	for i := range r.Len {
		from := i
		if i >= first {
			// The last two take turns: hook number h (from 0) stands at first + h%2.
			from = first + (i+r.Skipped)&1
		}
		r.Hops[i] = record.Hop{
			Hook:    record.Hook(j.Hook[from]),
			Ifindex: int(j.Ifindex[from]),
			Time:    time.Duration(j.TimeNs[from]),
		}
	}
	clear(r.Hops[r.Len:])
}

// convertOtherHost takes the MAC that a frame was for, if that is why it was freed. Without a reason the function tells: on a
// bridge frames for other hosts are lost for other reasons, too.
func convertOtherHost(j *bpfobj.TracerJourney, r *record.Record) {
	if j.Flags&uint16(bpfobj.TracerFlagFLAG_OTHERHOST) == 0 {
		return
	}
	function, _, _ := strings.Cut(r.Location, ".")
	if r.Reason == "" && slices.Contains([]string{"ip_rcv", "ip_rcv_core", "ipv6_rcv", "ip6_rcv_core"}, function) {
		r.Reason = record.OtherHost
	}
	if r.Reason == record.OtherHost {
		var outer [8]byte
		binary.NativeEndian.PutUint64(outer[:], j.Outer)
		copy(r.FrameMAC[:], outer[:])
	}
}

func convertFlow(f *bpfobj.TracerFlow) record.Flow {
	return record.Flow{
		Source:      netip.AddrPortFrom(netip.AddrFrom16(f.Source).Unmap(), hostOrder(f.SourcePort)),
		Destination: netip.AddrPortFrom(netip.AddrFrom16(f.Destination).Unmap(), hostOrder(f.DestinationPort)),
		Protocol:    record.Protocol(f.Protocol),
	}
}

// hostOrder turns a port as it stands in the packet into a number, on the little-endian machines that we serve.
func hostOrder(port uint16) uint16 { return port<<8 | port>>8 }
