package aggregate

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/hist"
	"tracer/internal/record"
)

// TCP is what the kernel knows of a pair's connections since the start, at those of their ends that are on this node.
type TCP struct {
	// From the end that sends the pair's packets. Round trips are samples, which include the peer's delayed
	// acknowledgements.
	RTT             hist.Histogram `json:"rtt"`
	HandshakeRTT    hist.Histogram `json:"opening"`  // of those, the handshakes', which are acknowledged at once
	Peers           []PeerRTT      `json:"peers"`    // the same by the other ends' nodes, at most 16 of them
	Segments        uint64         `json:"segments"` // sent with data, retransmissions included
	Retransmits     uint64         `json:"retransmits"`
	SinceRetransmit uint64         `json:"since_retransmit"` // segments sent since the last retransmission
	LastRetransmit  time.Duration  `json:"last_retransmit"`  // when that was, in CLOCK_MONOTONIC
	Spurious        uint64         `json:"spurious"`         // retransmissions of what the peer had received
	Delivered       uint64         `json:"delivered"`        // segments that were acknowledged
	AckedBytes      uint64         `json:"acked_bytes"`
	// PeerLimit is the least bandwidth, in bits a second, to which annotations limit the pod at the other end, as seen last; 0 if they
	// do not, or that is not known.
	PeerLimit uint64 `json:"peer_limit_bits,omitempty"`
	// Retransmitted are the segments whose retransmission made a record. Of them, Recovered were acknowledged afterwards, and
	// RetransmittedAgain had been retransmitted before, in vain.
	Retransmitted           uint64 `json:"resent"`
	RetransmittedBytes      uint64 `json:"resent_bytes"`
	Recovered               uint64 `json:"repaired"`
	RetransmittedAgain      uint64 `json:"stuck"`
	RetransmittedAgainBytes uint64 `json:"stuck_bytes"`
	// AckedMeanwhile are segments that were acknowledged while others were retransmitted again and again: before one of these was
	// sent, which was lost all the same.
	AckedMeanwhile      uint64 `json:"passed"`
	AckedMeanwhileBytes uint64 `json:"passed_bytes"`
	// SendPending is for how long, in seconds and over all connections, there were data to be sent; WindowClosed is the part
	// of it in which the peer's window had no room, and RWNDLimited how long that window alone kept them from sending.
	SendPending  float64 `json:"backlogged_seconds"`
	WindowClosed float64 `json:"closed_seconds"`
	RWNDLimited  float64 `json:"limited_seconds"`

	// From the end that receives them. UnreadSeconds is for how long there were data to be read, BufferFull the part of it in
	// which they filled more than half of the buffer, and Unread how long such data take to be read at the application's
	// rate.
	UnreadSeconds float64        `json:"waiting_seconds"`
	BufferFull    float64        `json:"full_seconds"`
	Unread        hist.Histogram `json:"unread"`
	// Refused are SYNs to ports of pods where nobody listens. RefusedSeconds are the seconds in which there were any where
	// there had been one of the latest before: who looks for open ports asks each once.
	Refused        uint64 `json:"refused"`
	RefusedSeconds uint64 `json:"refused_in_seconds"`
	// AcceptQueueFullSeconds are the seconds in which a listening socket had its accept queue full, AcceptQueue is how that
	// was in the last of them.
	AcceptQueueFullSeconds uint64             `json:"overfull_in_seconds"`
	AcceptQueue            record.AcceptQueue `json:"overfull"`

	// SYNQueueFullSeconds are the seconds in which it had its SYN queue full, SYNQueue is how that was in the last of them.
	SYNQueueFullSeconds uint64          `json:"syn_queue_full_in_seconds"`
	SYNQueue            record.SYNQueue `json:"syn_queue"`

	lastRefused, lastQueueFull, lastSYNQueueFull time.Duration // the last such seconds
	refusedAt                                    [8]uint32     // where SYNs were refused, the latest first: hashes of address and port
	againFrom, againLast                         time.Duration // the first and the last RetransmittedAgain, of those within againWindow
	meanwhile                                    *meanwhile    // what was acknowledged since againFrom; nil before
}

// FlowTCP is what the kernel knows of one flow's connection at the sending end, if that is on this node.
type FlowTCP struct {
	RTTs        uint64  `json:"rtts"` // how many samples
	RTTSeconds  float64 `json:"rtt_seconds"`
	Retransmits uint64  `json:"retransmits"`
}

// maxSpan bounds the time that one record of a connection covers, as it may have been idle for hours before it.
const maxSpan = 5 * time.Second

// againWindow is for how long a segment that was retransmitted again is taken for lost still: until its next retransmission.
const againWindow = 5 * time.Second

// addSender counts a record of a connection's end as the sender, made at that time. The other end is on the node peer; "" if that is
// not known.
func (t *TCP) addSender(c *record.TCP, at time.Duration, peer string) {
	if c.RTT > 0 {
		t.RTT.ObserveDuration(c.RTT, 1)
		var of *PeerRTT
		if peer != "" {
			of = t.peer(peer)
		}
		if of != nil {
			of.RTT.ObserveDuration(c.RTT, 1)
		}
		// In the first record, nothing but the SYN or the SYN-ACK has been acknowledged.
		if c.Span == 0 && c.Delivered == 1 {
			t.HandshakeRTT.ObserveDuration(c.RTT, 1)
			if of != nil {
				of.HandshakeRTT.ObserveDuration(c.RTT, 1)
			}
		}
	}
	t.Segments += uint64(c.Segments)
	t.Retransmits += uint64(c.Retransmits)
	if t.SinceRetransmit += uint64(c.Segments); c.Retransmits > 0 {
		t.SinceRetransmit, t.LastRetransmit = 0, at
	}
	t.Spurious += uint64(c.Spurious)
	t.Delivered += uint64(c.Delivered)
	t.AckedBytes += uint64(c.Acked)
	t.addRetransmission(c, at)
	span := min(c.Span, maxSpan).Seconds()
	t.RWNDLimited += min(c.RWNDLimited.Seconds(), span)
	if c.Unsent == 0 {
		return
	}
	t.SendPending += span
	// Less than a segment counts as closed: senders send no less.
	if c.SendWindow < max(1, c.MSS) {
		t.WindowClosed += span
	}
}

// addRetransmission counts what was retransmitted, and what was acknowledged meanwhile.
func (t *TCP) addRetransmission(c *record.TCP, at time.Duration) {
	if t.againLast > 0 && at-t.againLast < againWindow && at-c.Span >= t.againFrom {
		t.meanwhile.add(at, uint64(c.Delivered), uint64(c.Acked))
	}
	if c.Recovered {
		t.Recovered++
	}
	if c.RetransmittedLength > 0 {
		t.Retransmitted++
		t.RetransmittedBytes += uint64(c.RetransmittedLength)
	}
	if !c.RetransmittedAgain {
		return
	}
	t.RetransmittedAgain++
	t.RetransmittedAgainBytes += uint64(c.RetransmittedLength)
	if t.againLast == 0 || at-t.againLast >= againWindow {
		t.againFrom, t.meanwhile = at, new(meanwhile)
	}
	t.againLast = at
	// The record before is of the retransmission before, at the latest.
	segments, bytes := t.meanwhile.takeBefore(at - c.Span)
	t.AckedMeanwhile += segments
	t.AckedMeanwhileBytes += bytes
}

// addReceiver counts a record of a connection's end as the receiver.
func (t *TCP) addReceiver(c *record.TCP) {
	span := min(c.Span, maxSpan)
	if span == 0 || c.Unread == 0 {
		return
	}
	t.UnreadSeconds += span.Seconds()
	if c.Unread < c.ReceiveWindow {
		return
	}
	t.BufferFull += span.Seconds()
	toRead := c.Span // nothing was read in all that time
	if c.Read > 0 {
		toRead = time.Duration(float64(c.Span) * float64(c.Unread) / float64(c.Read))
	}
	t.Unread.ObserveDuration(toRead, 1)
}

// addRefused counts SYNs to an address and port where nobody listens.
func (t *TCP) addRefused(at time.Duration, where netip.AddrPort, n uint64) {
	address := where.Addr().As16()
	h := fnv.New32a()
	_, _ = h.Write(address[:]) // never fails
	_, _ = h.Write([]byte{byte(where.Port() >> 8), byte(where.Port())})
	if slices.Contains(t.refusedAt[:], h.Sum32()) {
		countSecond(&t.RefusedSeconds, &t.lastRefused, at)
	} else {
		copy(t.refusedAt[1:], t.refusedAt[:])
		t.refusedAt[0] = h.Sum32()
	}
	t.Refused += n
}

// addAcceptQueueFull counts that a listening socket's accept queue is full.
func (t *TCP) addAcceptQueueFull(at time.Duration, queue record.AcceptQueue) {
	t.AcceptQueue = queue
	countSecond(&t.AcceptQueueFullSeconds, &t.lastQueueFull, at)
}

// addSYNQueueFull counts that its SYN queue is.
func (t *TCP) addSYNQueueFull(at time.Duration, queue record.SYNQueue) {
	t.SYNQueue = queue
	countSecond(&t.SYNQueueFullSeconds, &t.lastSYNQueueFull, at)
}

// countSecond counts the second of time at, unless that was the last one counted.
func countSecond(n *uint64, last *time.Duration, at time.Duration) {
	if second := at.Truncate(time.Second); second != *last {
		*last = second
		*n++
	}
}

// snapshot returns a copy that does not change any more.
func (t *TCP) snapshot() *TCP {
	if t == nil {
		return nil
	}
	c := *t
	c.RTT, c.HandshakeRTT, c.Unread, c.Peers = t.RTT.Clone(), t.HandshakeRTT.Clone(), t.Unread.Clone(), clonePeers(t.Peers)
	return &c
}

// since is what was added after old; nil if nothing was.
func (t *TCP) since(old *TCP) *TCP {
	if t == nil || old == nil {
		return t
	}
	d := t.snapshot()
	d.RTT.Sub(&old.RTT)
	d.HandshakeRTT.Sub(&old.HandshakeRTT)
	d.Unread.Sub(&old.Unread)
	d.subPeers(old)
	d.Segments -= min(d.Segments, old.Segments)
	d.Retransmits -= min(d.Retransmits, old.Retransmits)
	d.SinceRetransmit = min(d.SinceRetransmit, d.Segments)
	d.Spurious -= min(d.Spurious, old.Spurious)
	d.Delivered -= min(d.Delivered, old.Delivered)
	d.AckedBytes -= min(d.AckedBytes, old.AckedBytes)
	d.SendPending = max(0, d.SendPending-old.SendPending)
	d.WindowClosed = max(0, d.WindowClosed-old.WindowClosed)
	d.RWNDLimited = max(0, d.RWNDLimited-old.RWNDLimited)
	d.UnreadSeconds = max(0, d.UnreadSeconds-old.UnreadSeconds)
	d.BufferFull = max(0, d.BufferFull-old.BufferFull)
	d.Refused -= min(d.Refused, old.Refused)
	d.RefusedSeconds -= min(d.RefusedSeconds, old.RefusedSeconds)
	d.AcceptQueueFullSeconds -= min(d.AcceptQueueFullSeconds, old.AcceptQueueFullSeconds)
	d.SYNQueueFullSeconds -= min(d.SYNQueueFullSeconds, old.SYNQueueFullSeconds)
	d.Retransmitted -= min(d.Retransmitted, old.Retransmitted)
	d.RetransmittedBytes -= min(d.RetransmittedBytes, old.RetransmittedBytes)
	d.Recovered -= min(d.Recovered, old.Recovered)
	d.RetransmittedAgain -= min(d.RetransmittedAgain, old.RetransmittedAgain)
	d.RetransmittedAgainBytes -= min(d.RetransmittedAgainBytes, old.RetransmittedAgainBytes)
	d.AckedMeanwhile -= min(d.AckedMeanwhile, old.AckedMeanwhile)
	d.AckedMeanwhileBytes -= min(d.AckedMeanwhileBytes, old.AckedMeanwhileBytes)
	if d.RTT.Count()+d.Segments+d.Retransmits+d.Delivered+d.Refused+d.AcceptQueueFullSeconds+d.SYNQueueFullSeconds == 0 && d.SendPending+d.UnreadSeconds == 0 {
		return nil
	}
	return d
}

// Merge adds what other counted.
func (t *TCP) Merge(other *TCP) {
	if other == nil {
		return
	}
	t.RTT.Merge(&other.RTT)
	t.HandshakeRTT.Merge(&other.HandshakeRTT)
	t.Unread.Merge(&other.Unread)
	t.mergePeers(other)
	t.PeerLimit = max(t.PeerLimit, other.PeerLimit)
	if other.LastRetransmit > t.LastRetransmit {
		t.LastRetransmit, t.SinceRetransmit = other.LastRetransmit, other.SinceRetransmit
	}
	t.Segments += other.Segments
	t.Retransmits += other.Retransmits
	t.Spurious += other.Spurious
	t.Delivered += other.Delivered
	t.AckedBytes += other.AckedBytes
	t.SendPending += other.SendPending
	t.WindowClosed += other.WindowClosed
	t.RWNDLimited += other.RWNDLimited
	t.UnreadSeconds += other.UnreadSeconds
	t.BufferFull += other.BufferFull
	t.Refused += other.Refused
	t.RefusedSeconds = max(t.RefusedSeconds, other.RefusedSeconds)
	t.Retransmitted += other.Retransmitted
	t.RetransmittedBytes += other.RetransmittedBytes
	t.Recovered += other.Recovered
	t.RetransmittedAgain += other.RetransmittedAgain
	t.RetransmittedAgainBytes += other.RetransmittedAgainBytes
	t.AckedMeanwhile += other.AckedMeanwhile
	t.AckedMeanwhileBytes += other.AckedMeanwhileBytes
	if other.AcceptQueueFullSeconds > t.AcceptQueueFullSeconds {
		t.AcceptQueueFullSeconds, t.AcceptQueue = other.AcceptQueueFullSeconds, other.AcceptQueue
	}
	if other.SYNQueueFullSeconds > t.SYNQueueFullSeconds {
		t.SYNQueueFullSeconds, t.SYNQueue = other.SYNQueueFullSeconds, other.SYNQueue
	}
}
