package record

import "time"

// TCP is how a TCP connection stands at one of its ends, which is in a pod of this node or in the node itself. Counts are
// those since the connection's previous record. It is immutable.
type TCP struct {
	// Ifindex is the pod's device on the node's side; 0 where this end is the node itself.
	Ifindex int
	// Span is how long ago the previous record was made. It is 0 in the first record, which counts from the
	// connection's beginning, or nothing if that was not seen.
	Span time.Duration
	// Deliver is how long the last received packet took from the pod's device to its socket; 0 if unknown.
	Deliver time.Duration
	// RWNDLimited is how long the peer's receive window alone kept this end from sending (TCP_CHRONO_RWND_LIMITED).
	RWNDLimited time.Duration

	// RTT is the round trip of the segment that was acknowledged last, in a first record the SYN's or the SYN-ACK's; 0 if
	// none was. A delayed acknowledgement (40 ms) is part of it.
	RTT    time.Duration
	SRTT   time.Duration // the kernel's smoothed mean
	MinRTT time.Duration // the kernel's minimum of the last five minutes

	Segments            uint32 // sent with data, retransmissions included
	Retransmits         uint32 // segments
	Spurious            uint32 // of those, segments that the peer had already received
	Delivered           uint32 // segments that were acknowledged
	Acked               uint32 // bytes that were acknowledged in sequence
	RetransmittedLength uint32 // bytes of the segment whose retransmission made this record; 0 if something else did
	Recovered           bool   // the segment retransmitted before this record was acknowledged
	RetransmittedAgain  bool   // the retransmitted segment is the same as the last time: the retransmission was lost too

	Read          uint32 // bytes that the application read
	Unread        uint32 // bytes that it has not read yet
	ReceiveWindow uint32 // bytes that the peer may still send

	SendWindow       uint32 // bytes that may be in flight
	Unsent           uint32 // bytes that the application wrote and that were not sent yet
	CongestionWindow uint32 // segments that may be in flight
	InFlight         uint32 // segments
	MSS              uint32

	State uint8 // the kernel's number: 1 is TCP_ESTABLISHED
}
