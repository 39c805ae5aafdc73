package loader

import "time"

const (
	// lostJourneys in a second, and so many of all packets that came, say that the kernel frees packets in our sight's way.
	lostJourneys  = 10
	lostJourneyIn = 200
	// consumeFor is how long consume_skb is traced then, before it is tried without it again: what made journeys break off may be over.
	consumeFor = 10 * time.Minute
)

// lostSight is what is known of journeys that broke off without consumeTracepoint.
type lostSight struct {
	until   time.Duration // it is traced until then
	changes uint64        // of the hooks, so far
	counted uint64        // of these, when journeys were counted last
}

// CountLostJourneys looks, by the counters of a second ago and of now, whether packets vanish behind their egress, or appear at one
// as forwarded but without a journey: there the kernel splits packets, or goes on with copies of them (bpf/clone.bpf.h), where
// nothing said so. It tells whether consume_skb is to be traced from the next SetDevices on, and was not before. While hooks come
// and go, journeys break off for that.
func (l *Loader) CountLostJourneys(before, after *Counters) bool {
	lost := func(c *Counters) uint64 { return c.NoIngress + c.Unfinished["egress"] + c.Unfinished["dequeue"] }
	came := func(c *Counters) uint64 { return c.Started + c.Unsampled }
	l.mu.Lock()
	defer l.mu.Unlock()
	settled := l.lost.changes == l.lost.counted && !l.unhooked
	l.lost.counted = l.lost.changes
	n := lost(after) - lost(before)
	if !settled || n < lostJourneys || n*lostJourneyIn < came(after)-came(before) {
		return false
	}
	now := Monotonic()
	first := now >= l.lost.until
	l.lost.until = now + consumeFor
	return first
}
