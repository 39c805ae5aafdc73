package loader

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// isTCP tells a struct tcp_record from a struct record.
func isTCP(raw []byte) bool {
	return len(raw) >= 4 && binary.LittleEndian.Uint32(raw) == uint32(bpfobj.TracerRecordKindRECORD_TCP)
}

// decodeTCP views what the kernel wrote as a record of a connection.
func decodeTCP(raw []byte) (*bpfobj.TracerTcpRecord, error) {
	if len(raw) < int(unsafe.Sizeof(bpfobj.TracerTcpRecord{})) {
		return nil, fmt.Errorf("record of a connection of %d bytes, want %d", len(raw), unsafe.Sizeof(bpfobj.TracerTcpRecord{}))
	}
	return (*bpfobj.TracerTcpRecord)(unsafe.Pointer(unsafe.SliceData(raw))), nil
}

// convertTCP fills r from what the kernel wrote.
func convertTCP(k *bpfobj.TracerTcpRecord, r *record.Record) {
	flow := convertFlow(&k.Flow)
	micros := func(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }
	*r = record.Record{
		Kind: record.Connection, First: flow, Last: flow, Time: time.Duration(k.TimeNs),
		TCP: &record.TCP{
			Ifindex: int(k.Ifindex), Span: time.Duration(k.SpanNs), Deliver: time.Duration(k.DeliverNs), RWNDLimited: time.Duration(k.RwndLimitedNs),
			RTT: micros(roundTrip(k)), SRTT: micros(k.SrttUs), MinRTT: micros(k.RttMinUs),
			Segments: k.Segments, Retransmits: k.Retransmits, Spurious: k.Spurious, Delivered: k.Delivered,
			Acked: k.AckedBytes, RetransmittedLength: k.RetransmittedBytes, Recovered: k.Recovered != 0, RetransmittedAgain: k.Repeated != 0,
			Read: k.ReadBytes, Unread: k.UnreadBytes, ReceiveWindow: k.ReceiveWindow,
			SendWindow: k.SendWindow, Unsent: k.UnsentBytes, CongestionWindow: k.CongestionWindow, InFlight: k.InFlight,
			MSS: k.Mss, State: k.State,
		},
	}
}

// roundTrip is that of the segment that was acknowledged last, in microseconds; 0 if none was, or it was not measured. Where a connection
// was opened towards this node that is its SYN-ACK first, of which the kernel keeps the round trip as the smoothed one alone. Where it did
// not keep when that was sent, with SYN cookies or where it was sent again, it goes by TCP's timestamps, in whole milliseconds: cookies
// have their own six bits in those, so that any handshake takes 0 to 63 ms.
func roundTrip(k *bpfobj.TracerTcpRecord) uint32 {
	const timestampUs = 1000
	switch {
	case k.SpanNs != 0 || k.Delivered != 1 || k.RttUs != 0:
		return k.RttUs
	case k.SrttUs%timestampUs == 0:
		return 0
	}
	return k.SrttUs
}
