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
	RTT         hist.Histogram `json:"rtt"`
	Opening     hist.Histogram `json:"opening"`  // of those, the round trips that open a connection: answered at once
	Segments    uint64         `json:"segments"` // sent with data, retransmissions included
	Retransmits uint64         `json:"retransmits"`
	Spurious    uint64         `json:"spurious"`  // retransmissions of what the other end had already
	Delivered   uint64         `json:"delivered"` // segments that were acknowledged
	// Of the retransmissions that were looked at, Repaired are how many were acknowledged afterwards, and Stuck how many
	// were of a segment that had been sent again before, in vain; StuckBytes is the length of those.
	Resent     uint64 `json:"resent"`
	Repaired   uint64 `json:"repaired"`
	Stuck      uint64 `json:"stuck"`
	StuckBytes uint64 `json:"stuck_bytes"`
	// Passed are segments that were acknowledged while others were stuck, PassedBytes their length.
	Passed      uint64 `json:"passed"`
	PassedBytes uint64 `json:"passed_bytes"`
	// Backlogged is for how long more was to be sent than was on the way, all connections together, Closed how much of
	// that the other end's window left no room, and Limited how long nothing but that window kept them from sending.
	Backlogged float64 `json:"backlogged_seconds"`
	Closed     float64 `json:"closed_seconds"`
	Limited    float64 `json:"limited_seconds"`

	// Of the end that receives them: for how long something waited to be read, how much of that it took more than half of
	// the buffer, and how long such a buffer takes to be read at the rate at which the application does.
	Waiting float64        `json:"waiting_seconds"`
	Full    float64        `json:"full_seconds"`
	Unread  hist.Histogram `json:"unread"`
	// Refused are SYNs to ports of pods where nobody listens, RefusedIn the seconds in which there were any.
	Refused   uint64 `json:"refused"`
	RefusedIn uint64 `json:"refused_in_seconds"`
	// OverfullIn are the seconds in which a socket that listens had no room for one more connection; Overfull is how it
	// stood in the last of them.
	OverfullIn uint64         `json:"overfull_in_seconds"`
	Overfull   record.Backlog `json:"overfull"`

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
			t.Opening.ObserveDuration(c.RTT, 1)
		}
	}
	t.Segments += uint64(c.Segments)
	t.Retransmits += uint64(c.Retransmits)
	t.Spurious += uint64(c.Spurious)
	t.Delivered += uint64(c.Delivered)
	t.resent(c, at)
	look := min(c.Span, maxLook).Seconds()
	t.Limited += min(c.Limited.Seconds(), look)
	if c.Unsent == 0 {
		return
	}
	t.Backlogged += look
	// Less than a segment is as good as closed: no sender sends less.
	if c.SendWindow < max(1, c.MSS) {
		t.Closed += look
	}
}

// resent counts what was sent again, and what was acknowledged meanwhile.
func (t *TCP) resent(c *record.TCP, at time.Duration) {
	if t.stuckAt > 0 && at-t.stuckAt < maxStuck && at-c.Span >= t.stuckFrom {
		t.Passed += uint64(c.Delivered)
		t.PassedBytes += uint64(c.Acked)
	}
	if c.Repaired {
		t.Repaired++
	}
	if c.Resent > 0 {
		t.Resent++
	}
	if !c.Stuck {
		return
	}
	t.Stuck++
	t.StuckBytes += uint64(c.Resent)
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
	t.Waiting += look.Seconds()
	if c.Unread < c.ReceiveWindow {
		return
	}
	t.Full += look.Seconds()
	wait := c.Span // nothing was read in all that time
	if c.Read > 0 {
		wait = time.Duration(float64(c.Span) * float64(c.Unread) / float64(c.Read))
	}
	t.Unread.ObserveDuration(wait, 1)
}

// refuse counts SYNs that met no socket.
func (t *TCP) refuse(at time.Duration, n uint64) {
	t.Refused += n
	countSecond(&t.RefusedIn, &t.refusedAt, at)
}

// overfull counts a look at a socket that has no room for one more connection.
func (t *TCP) overfull(at time.Duration, b record.Backlog) {
	t.Overfull = b
	countSecond(&t.OverfullIn, &t.overfullAt, at)
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
	c.RTT, c.Opening, c.Unread = t.RTT.Clone(), t.Opening.Clone(), t.Unread.Clone()
	return &c
}

// since is what was added to old; nil if nothing was.
func (t *TCP) since(old *TCP) *TCP {
	if t == nil || old == nil {
		return t
	}
	d := t.frozen()
	d.RTT.Sub(&old.RTT)
	d.Opening.Sub(&old.Opening)
	d.Unread.Sub(&old.Unread)
	d.Segments -= min(d.Segments, old.Segments)
	d.Retransmits -= min(d.Retransmits, old.Retransmits)
	d.Spurious -= min(d.Spurious, old.Spurious)
	d.Delivered -= min(d.Delivered, old.Delivered)
	d.Backlogged = max(0, d.Backlogged-old.Backlogged)
	d.Closed = max(0, d.Closed-old.Closed)
	d.Limited = max(0, d.Limited-old.Limited)
	d.Waiting = max(0, d.Waiting-old.Waiting)
	d.Full = max(0, d.Full-old.Full)
	d.Refused -= min(d.Refused, old.Refused)
	d.RefusedIn -= min(d.RefusedIn, old.RefusedIn)
	d.OverfullIn -= min(d.OverfullIn, old.OverfullIn)
	d.Resent -= min(d.Resent, old.Resent)
	d.Repaired -= min(d.Repaired, old.Repaired)
	d.Stuck -= min(d.Stuck, old.Stuck)
	d.StuckBytes -= min(d.StuckBytes, old.StuckBytes)
	d.Passed -= min(d.Passed, old.Passed)
	d.PassedBytes -= min(d.PassedBytes, old.PassedBytes)
	if d.RTT.Count()+d.Segments+d.Retransmits+d.Delivered+d.Refused+d.OverfullIn == 0 && d.Backlogged+d.Waiting == 0 {
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
	t.Opening.Merge(&other.Opening)
	t.Unread.Merge(&other.Unread)
	t.Segments += other.Segments
	t.Retransmits += other.Retransmits
	t.Spurious += other.Spurious
	t.Delivered += other.Delivered
	t.Backlogged += other.Backlogged
	t.Closed += other.Closed
	t.Limited += other.Limited
	t.Waiting += other.Waiting
	t.Full += other.Full
	t.Refused += other.Refused
	t.RefusedIn = max(t.RefusedIn, other.RefusedIn)
	t.Resent += other.Resent
	t.Repaired += other.Repaired
	t.Stuck += other.Stuck
	t.StuckBytes += other.StuckBytes
	t.Passed += other.Passed
	t.PassedBytes += other.PassedBytes
	if other.OverfullIn > t.OverfullIn {
		t.OverfullIn, t.Overfull = other.OverfullIn, other.Overfull
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

// Overfull counts that the socket that a packet was for had no room for one more connection, at that time.
func (a *Aggregator) Overfull(rec *record.Record, at time.Duration, b record.Backlog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	path, err := journey.Stages(rec, a.devices)
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
