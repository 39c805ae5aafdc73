package loader

const (
	// lostJourneys in a second, and so many of all packets that came, say that the kernel frees packets in our sight's way.
	lostJourneys  = 10
	lostJourneyIn = 200
)

// CountLostJourneys looks, by the counters of a second ago and of now, whether packets vanish behind their egress, or appear at one
// as forwarded but without a journey: there the kernel splits packets, or goes on with copies of them (bpf/clone.bpf.h), where
// nothing said so. It tells whether consume_skb is to be traced from the next SetDevices on, and was not before.
func (l *Loader) CountLostJourneys(before, after *Counters) bool {
	lost := func(c *Counters) uint64 { return c.NoIngress + c.Unfinished["egress"] + c.Unfinished["dequeue"] }
	came := func(c *Counters) uint64 { return c.Started + c.Unsampled }
	n := lost(after) - lost(before)
	if n < lostJourneys || n*lostJourneyIn < came(after)-came(before) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.consumed
	l.consumed = true
	return first
}
