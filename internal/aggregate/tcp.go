package aggregate

import (
	"time"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// TCP is what a pair's connections say since the start, at those of their ends that are on this node.
type TCP struct {
	// Of the end that sends the pair's packets. Round trips are samples in seconds: they hold the other end's delayed
	// acknowledgements.
	RTT          hist.Histogram `json:"rtt"`
	HandshakeRTT hist.Histogram `json:"opening"`  // of those, the round trips that open a connection: answered at once
	Segments     uint64         `json:"segments"` // sent with data, retransmissions included
	Retransmits  uint64         `json:"retransmits"`
	Spurious     uint64         `json:"spurious"`  // retransmissions of what the other end had already
	Delivered    uint64         `json:"delivered"` // segments that were acknowledged
	// Of the retransmissions that were looked at, Repaired are how many were acknowledged afterwards, and Stuck how many
	// were of a segment that had been sent again before, in vain; StuckBytes is the length of those.
	Retransmitted           uint64 `json:"resent"`
	Recovered               uint64 `json:"repaired"`
	RetransmittedAgain      uint64 `json:"stuck"`
	RetransmittedAgainBytes uint64 `json:"stuck_bytes"`
	// AckedMeanwhile are segments that were acknowledged while others were stuck, PassedBytes their length.
	AckedMeanwhile      uint64 `json:"passed"`
	AckedMeanwhileBytes uint64 `json:"passed_bytes"`
	// SendPending is for how long more was to be sent than was on the way, all connections together, Closed how much of
	// that the other end's window left no room, and Limited how long nothing but that window kept them from sending.
	SendPending  float64 `json:"backlogged_seconds"`
	WindowClosed float64 `json:"closed_seconds"`
	RWNDLimited  float64 `json:"limited_seconds"`

	// Of the end that receives them: for how long something waited to be read, how much of that it took more than half of
	// the buffer, and how long such a buffer takes to be read at the rate at which the application does.
	UnreadSeconds float64        `json:"waiting_seconds"`
	BufferFull    float64        `json:"full_seconds"`
	Unread        hist.Histogram `json:"unread"`
	// Refused are SYNs to ports of pods where nobody listens, RefusedIn the seconds in which there were any.
	Refused        uint64 `json:"refused"`
	RefusedSeconds uint64 `json:"refused_in_seconds"`
	// AcceptQueueFullSeconds are the seconds in which a socket that listens had no room for one more connection; Overfull is how it
	// stood in the last of them.
	AcceptQueueFullSeconds uint64             `json:"overfull_in_seconds"`
	AcceptQueue            record.AcceptQueue `json:"overfull"`

	refusedAt, overfullAt time.Duration // the last such second
	stuckFrom, stuckAt    time.Duration // the first and the last segment that was stuck, of those that are not long ago
}

// FlowTCP is what one flow's connection says, at the end that sends, if that is on this node.
type FlowTCP struct {
	RTTs        uint64  `json:"rtts"` // how many samples
	RTTSeconds  float64 `json:"rtt_seconds"`
	Retransmits uint64  `json:"retransmits"`
}

// maxLook bounds the time that one look at a connection stands for: before it may have been idle for hours.
const maxLook = 5 * time.Second

// maxStuck is how long after a segment was sent again in vain it is taken for stuck still: until it is sent the next time.
const maxStuck = 5 * time.Second

// sent counts what a connection's end says as the sender, at that time.
func (t *TCP) sent(c *record.TCP, at time.Duration) {
	if c.RTT > 0 {
		t.RTT.ObserveDuration(c.RTT, 1)
		// The first record, and nothing acknowledged but the SYN.
		if c.Span == 0 && c.Delivered == 1 {
			t.HandshakeRTT.ObserveDuration(c.RTT, 1)
		}
	}
	t.Segments += uint64(c.Segments)
	t.Retransmits += uint64(c.Retransmits)
	t.Spurious += uint64(c.Spurious)
	t.Delivered += uint64(c.Delivered)
	t.resent(c, at)
	look := min(c.Span, maxLook).Seconds()
	t.RWNDLimited += min(c.RWNDLimited.Seconds(), look)
	if c.Unsent == 0 {
		return
	}
	t.SendPending += look
	// Less than a segment is as good as closed: no sender sends less.
	if c.SendWindow < max(1, c.MSS) {
		t.WindowClosed += look
	}
}

// resent counts what was sent again, and what was acknowledged meanwhile.
func (t *TCP) resent(c *record.TCP, at time.Duration) {
	if t.stuckAt > 0 && at-t.stuckAt < maxStuck && at-c.Span >= t.stuckFrom {
		t.AckedMeanwhile += uint64(c.Delivered)
		t.AckedMeanwhileBytes += uint64(c.Acked)
	}
	if c.Recovered {
		t.Recovered++
	}
	if c.RetransmittedLength > 0 {
		t.Retransmitted++
	}
	if !c.RetransmittedAgain {
		return
	}
	t.RetransmittedAgain++
	t.RetransmittedAgainBytes += uint64(c.RetransmittedLength)
	if t.stuckAt == 0 || at-t.stuckAt >= maxStuck {
		t.stuckFrom = at
	}
	t.stuckAt = at
}

// received counts what a connection's end says as the receiver.
func (t *TCP) received(c *record.TCP) {
	look := min(c.Span, maxLook)
	if look == 0 || c.Unread == 0 {
		return
	}
	t.UnreadSeconds += look.Seconds()
	if c.Unread < c.ReceiveWindow {
		return
	}
	t.BufferFull += look.Seconds()
	wait := c.Span // nothing was read in all that time
	if c.Read > 0 {
		wait = time.Duration(float64(c.Span) * float64(c.Unread) / float64(c.Read))
	}
	t.Unread.ObserveDuration(wait, 1)
}

// refuse counts SYNs that met no socket.
func (t *TCP) refuse(at time.Duration, n uint64) {
	t.Refused += n
	countSecond(&t.RefusedSeconds, &t.refusedAt, at)
}

// overfull counts a look at a socket that has no room for one more connection.
func (t *TCP) overfull(at time.Duration, b record.AcceptQueue) {
	t.AcceptQueue = b
	countSecond(&t.AcceptQueueFullSeconds, &t.overfullAt, at)
}

// countSecond counts the second that at is in, unless it was the last one already.
func countSecond(n *uint64, last *time.Duration, at time.Duration) {
	if second := at.Truncate(time.Second); second != *last {
		*last = second
		*n++
	}
}

func (t *TCP) frozen() *TCP {
	if t == nil {
		return nil
	}
	c := *t
	c.RTT, c.HandshakeRTT, c.Unread = t.RTT.Clone(), t.HandshakeRTT.Clone(), t.Unread.Clone()
	return &c
}

// since is what was added to old; nil if nothing was.
func (t *TCP) since(old *TCP) *TCP {
	if t == nil || old == nil {
		return t
	}
	d := t.frozen()
	d.RTT.Sub(&old.RTT)
	d.HandshakeRTT.Sub(&old.HandshakeRTT)
	d.Unread.Sub(&old.Unread)
	d.Segments -= min(d.Segments, old.Segments)
	d.Retransmits -= min(d.Retransmits, old.Retransmits)
	d.Spurious -= min(d.Spurious, old.Spurious)
	d.Delivered -= min(d.Delivered, old.Delivered)
	d.SendPending = max(0, d.SendPending-old.SendPending)
	d.WindowClosed = max(0, d.WindowClosed-old.WindowClosed)
	d.RWNDLimited = max(0, d.RWNDLimited-old.RWNDLimited)
	d.UnreadSeconds = max(0, d.UnreadSeconds-old.UnreadSeconds)
	d.BufferFull = max(0, d.BufferFull-old.BufferFull)
	d.Refused -= min(d.Refused, old.Refused)
	d.RefusedSeconds -= min(d.RefusedSeconds, old.RefusedSeconds)
	d.AcceptQueueFullSeconds -= min(d.AcceptQueueFullSeconds, old.AcceptQueueFullSeconds)
	d.Retransmitted -= min(d.Retransmitted, old.Retransmitted)
	d.Recovered -= min(d.Recovered, old.Recovered)
	d.RetransmittedAgain -= min(d.RetransmittedAgain, old.RetransmittedAgain)
	d.RetransmittedAgainBytes -= min(d.RetransmittedAgainBytes, old.RetransmittedAgainBytes)
	d.AckedMeanwhile -= min(d.AckedMeanwhile, old.AckedMeanwhile)
	d.AckedMeanwhileBytes -= min(d.AckedMeanwhileBytes, old.AckedMeanwhileBytes)
	if d.RTT.Count()+d.Segments+d.Retransmits+d.Delivered+d.Refused+d.AcceptQueueFullSeconds == 0 && d.SendPending+d.UnreadSeconds == 0 {
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
	t.Segments += other.Segments
	t.Retransmits += other.Retransmits
	t.Spurious += other.Spurious
	t.Delivered += other.Delivered
	t.SendPending += other.SendPending
	t.WindowClosed += other.WindowClosed
	t.RWNDLimited += other.RWNDLimited
	t.UnreadSeconds += other.UnreadSeconds
	t.BufferFull += other.BufferFull
	t.Refused += other.Refused
	t.RefusedSeconds = max(t.RefusedSeconds, other.RefusedSeconds)
	t.Retransmitted += other.Retransmitted
	t.Recovered += other.Recovered
	t.RetransmittedAgain += other.RetransmittedAgain
	t.RetransmittedAgainBytes += other.RetransmittedAgainBytes
	t.AckedMeanwhile += other.AckedMeanwhile
	t.AckedMeanwhileBytes += other.AckedMeanwhileBytes
	if other.AcceptQueueFullSeconds > t.AcceptQueueFullSeconds {
		t.AcceptQueueFullSeconds, t.AcceptQueue = other.AcceptQueueFullSeconds, other.AcceptQueue
	}
}

// tcp is the pair's, which then changes.
func (p *pair) tcp(now time.Duration) *TCP {
	p.dirty, p.seen = true, now
	if p.TCP == nil {
		p.TCP = &TCP{}
	}
	return p.TCP
}

// connection counts how a TCP connection stands: for the pair of what this end sends, and that of what it receives.
func (a *Aggregator) connection(rec *record.Record) {
	c := rec.TCP
	if p, f := a.sends(rec); p != nil {
		p.tcp(rec.Time).sent(c, rec.Time)
		if f != nil {
			f.dirty = true
			f.tcp.Retransmits += uint64(c.Retransmits)
			if c.RTT > 0 {
				f.tcp.RTTs++
				f.tcp.RTTSeconds += c.RTT.Seconds()
			}
		}
	}
	if p, f := a.receives(rec); p != nil {
		p.tcp(rec.Time).received(c)
		if d := a.devices.Find(c.Ifindex); d != nil && c.Deliver > 0 {
			step := journey.Step{Stage: journey.Deliver, Device: d, Delay: c.Deliver}
			s := a.pairStage(p, StageKey{step.Stage, d.Label, p.Direction})
			s.observe(&step, 1)
			if f != nil {
				f.observe(s.all, &step, 1)
				f.dirty = true
			}
		}
	}
}

// AcceptQueueFull counts that the socket that a packet was for had no room for one more connection, at that time.
func (a *Aggregator) AcceptQueueFull(rec *record.Record, at time.Duration, b record.AcceptQueue) {
	a.mu.Lock()
	defer a.mu.Unlock()
	path, err := journey.PathOf(rec, a.devices)
	if err != nil {
		return // its device has gone
	}
	a.flow(rec, path.Direction).pair.tcp(at).overfull(at, b)
}

// refused tells of a drop that is no loss whether somebody asked for a connection where nobody listens. Without a
// reason, only TCP's own function frees what has come so far.
func refused(rec *record.Record, path *journey.Path) bool {
	if !rec.SYN || path.At.Stage != journey.Deliver {
		return false
	}
	switch rec.Reason {
	case "NO_SOCKET":
		return true
	case "", journey.NotSpecified:
		return rec.Location == "tcp_v4_rcv" || rec.Location == "tcp_v6_rcv"
	}
	return false
}
