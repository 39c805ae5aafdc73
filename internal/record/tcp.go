package record

import "time"

// TCP is how a TCP connection stands at one of its ends, which is a pod's of this node or the node's own. Its counts are
// those since the connection's record before. It does not change.
type TCP struct {
	// Ifindex is the pod's device on the node's side; 0 where this end is the node itself.
	Ifindex int
	// Span is how long ago the record before was made; 0 in the first one, which then counts from the connection's
	// beginning, or nothing if that was missed.
	Span time.Duration
	// Deliver is how long the packet that came last took from the pod's device to its socket; 0 if that is not known.
	Deliver time.Duration
	// RWNDLimited is how long nothing but the other end's window kept this one from sending.
	RWNDLimited time.Duration

	// RTT is the round trip of the segment that was acknowledged last; 0 if none was. It may hold the delay of the
	// other end's acknowledgement (40 ms), and its application's answer.
	RTT    time.Duration
	SRTT   time.Duration // the kernel's mean
	MinRTT time.Duration // the kernel's minimum, of five minutes

	Segments            uint32 // sent with data, retransmissions included
	Retransmits         uint32 // segments
	Spurious            uint32 // of those, what the other end had already
	Delivered           uint32 // segments that were acknowledged
	Acked               uint32 // bytes that were acknowledged without a gap
	RetransmittedLength uint32 // length of the segment that has just been sent again; 0 if this record is of another occasion
	Recovered           bool   // the segment that was sent again last, before this record, has been acknowledged
	RetransmittedAgain  bool   // the segment that has just been sent again is the same as the last time: that was lost too

	Read          uint32 // bytes that the application took
	Unread        uint32 // bytes that wait for it
	ReceiveWindow uint32 // bytes that the other end may still send

	SendWindow       uint32 // bytes that may be on the way
	Unsent           uint32 // bytes that were written and are not on the way yet
	CongestionWindow uint32 // segments that may be on the way
	InFlight         uint32 // segments
	MSS              uint32

	State uint8 // the kernel's number: 1 is ESTABLISHED
}
