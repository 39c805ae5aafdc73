package loader

import (
	"slices"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// consumeTracepoint is attached only while packets may be split behind their egress, or go on as copies: all that is freed on the
// machine passes it. See docs/design.md#when-consume_skb-is-traced.
var consumeTracepoint = tracepoint{"consume_skb", "consume", "the queue delay of packets that software GSO splits", false}

// consumeUnneeded is why it is left out.
const consumeUnneeded = "not needed now: no qdisc here splits large packets and every device takes TCP's whole; it comes back with what does"

const (
	// consumeCalm is for how long no device may have come, and nothing have needed the hook, before it is taken away.
	consumeCalm = time.Minute
	// lostJourneys in a second, and one in so many, say that it is missed.
	lostJourneys  = 10
	lostJourneyIn = 200
)

// whyConsume says why packets may be split behind a device's egress, or at a pod's end of a device; "" where they are not.
func whyConsume(devices []netdev.Device) string {
	for _, d := range devices {
		switch {
		case d.Role.WhyUnhooked() != "":
		case d.Root.Splits():
			return "the qdisc of " + d.Name + " splits large packets"
		case d.PodEnd != nil && (d.PodEnd.Queues || d.PodEnd.Root.Splits()):
			return "the pod of " + d.Name + " has a qdisc of its own, which may split large packets"
		case d.SoftwareGSO != "":
			return "the kernel splits large packets in front of " + d.Name + ": " + d.SoftwareGSO
		}
	}
	return ""
}

// consuming is what is known of the need for consumeTracepoint.
type consuming struct {
	calm  time.Duration // Options.ConsumeCalm
	until time.Duration // it stays until then
	since time.Duration // when it was attached last
}

// wanted tells whether it is to be attached. came: devices came, which may bring such packets.
func (c *consuming) wanted(why string, came bool, now time.Duration) bool {
	if why != "" || came {
		c.until = now + c.calm
	}
	return now < c.until
}

// LookAtSplits looks, by the counters of a second ago and of now, whether the hook at consume_skb was of use; or, where it is not
// attached, whether packets vanish behind their egress, or appear at one as forwarded without a journey, since the kernel splits them
// or goes on with copies where nothing said so. It tells whether the next SetDevices will attach or detach it.
func (l *Loader) LookAtSplits(before, after *Counters) (changes bool) {
	if !l.features.Tracepoints[consumeTracepoint.tracepoint] {
		return false
	}
	attached := l.TracepointAttached(consumeTracepoint.tracepoint)
	now := Monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	if attached {
		if after.Split != before.Split || after.Cloned != before.Cloned {
			l.consume.until = now + l.consume.calm
		}
		return now >= l.consume.until
	}
	unfinished := func(c *Counters) uint64 { return c.Unfinished["egress"] + c.Unfinished["dequeue"] }
	many := func(n, of uint64) bool { return n >= lostJourneys && n*lostJourneyIn >= of }
	began := after.Started - before.Started
	if !many(unfinished(after)-unfinished(before), began) &&
		!many(after.NoIngress-before.NoIngress, began+after.Unsampled-before.Unsampled) {
		return false
	}
	l.consume.until = now + l.consume.calm
	return true
}

// withoutSplit leaves out journeys in front of a qdisc that splits, of large packets that it may have split before the hook was
// attached that tells.
func (l *Loader) withoutSplit(open []record.Record) []record.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(open, func(r record.Record) bool {
		last := r.Hops[r.Len-1]
		return r.Segments > 1 && last.Hook == record.Egress && last.Time < l.consume.since && l.devices.splits(last.Ifindex)
	})
}
