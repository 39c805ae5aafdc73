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

// consumeHook is its place in a plan.
var consumeHook = Hook{Program: consumeTracepoint.program, Name: consumeTracepoint.tracepoint}

// consumeUnneeded is why it is left out.
const consumeUnneeded = "not needed now: no qdisc here splits large packets and every device takes TCP's whole; it comes back with what does"

const (
	// consumeCalm is for how long no device may have come, and nothing have needed the hook, before it is taken away.
	consumeCalm = time.Minute
	// consumeDoubt is for how long it stays open, once the hook has come, whether large packets from before still wait: by then the
	// counters have told whether packets are split here.
	consumeDoubt = 3 * time.Second
)

// handsOnWhole are the qdiscs that hand out the sk_buffs that they took in. One that is not among them may split large packets.
var handsOnWhole = map[string]bool{
	"": true, "noqueue": true, "noop": true, "blackhole": true, "pfifo_fast": true, "pfifo": true, "bfifo": true, "pfifo_head_drop": true,
	"fq": true, "fq_codel": true, "codel": true, "sfq": true, "red": true, "gred": true, "sfb": true, "choke": true, "pie": true,
	"fq_pie": true, "hhf": true, "plug": true, "skbprio": true, "netem": true, "etf": true, "cbs": true, "mq": true, "mqprio": true,
	"multiq": true, "prio": true, "ets": true, "drr": true, "qfq": true, "htb": true, "hfsc": true, "cbq": true, "dsmark": true,
	"ingress": true, "clsact": true,
}

// maySplit tells whether large packets may come out of a qdisc's tree in parts.
func maySplit(q netdev.Qdisc) bool {
	return q.Splits() || !handsOnWhole[q.Kind] || slices.ContainsFunc(q.Children, maySplit)
}

// whyConsume says why packets may be split behind a device's egress, or at a pod's end of a device; "" where they are not.
func whyConsume(devices []netdev.Device) string {
	for _, d := range devices {
		switch {
		case d.Role.WhyUnhooked() != "":
		case maySplit(d.Root):
			return "the qdisc of " + d.Name + " splits large packets"
		case d.PodEnd != nil && (d.PodEnd.Queues || maySplit(d.PodEnd.Root)):
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
	why   string        // of the last plan
	until time.Duration // it stays until then
	since time.Duration // when it was attached last
	gone  time.Duration // when it was taken away last
	split bool          // packets were split since
}

// plan takes over why a plan needs it; came: devices came, which may bring such packets.
func (c *consuming) plan(why string, came bool, now time.Duration) {
	c.why = why
	if why != "" || came {
		c.until = now + c.calm
	}
}

// wanted tells whether it is to be attached.
func (c *consuming) wanted(now time.Duration) bool { return c.why != "" || now < c.until }

// LookAtSplits looks, by the counters of a second ago and of now, whether packets are split, or go on as copies. The hook at
// consume_skb tells, and where it is not attached what they leave behind: a slot whose packet is another one when its sk_buff is used
// again, and packets that are forwarded without a journey. It tells whether the next SetDevices will attach or detach the hook.
func (l *Loader) LookAtSplits(before, after *Counters) (changes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.features.Tracepoints[consumeTracepoint.tracepoint] || l.failed[consumeHook] != nil {
		return false
	}
	_, attached := l.attached[consumeHook]
	c := &l.consume
	now := Monotonic()
	vanished := func(c *Counters) uint64 {
		return c.EvictedMismatch + c.Unfinished["egress"] + c.Unfinished["dequeue"] + c.Unfinished["pod_queue"]
	}
	split := after.Split != before.Split
	c.split = c.split || attached && split
	// One is enough: it may be all that a pair sends.
	if split || after.Cloned != before.Cloned || vanished(after) != vanished(before) || after.NoIngress != before.NoIngress {
		c.until = now + c.calm
	}
	return attached != c.wanted(now)
}

// withoutSplit leaves out journeys of large packets in front of a driver that may have been split unseen, since they came there before the
// hook was attached that tells. Their slots stay until the sk_buffs are used again. Where nothing says that packets are split, they are
// left out only while they are old and it is not known: then the hook is to be attached.
func (l *Loader) withoutSplit(open []record.Record) []record.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.features.Tracepoints[consumeTracepoint.tracepoint] || l.failed[consumeHook] != nil {
		return open
	}
	c := &l.consume
	_, attached := l.attached[consumeHook]
	now := Monotonic()
	since := c.since
	if !attached {
		since = now
	}
	return slices.DeleteFunc(open, func(r record.Record) bool {
		last := r.Hops[r.Len-1]
		queued := last.Hook == record.Egress || last.Hook == record.Dequeue || last.Hook == record.PodQueue
		if r.Segments < 2 || !queued {
			return false
		}
		old := now-last.Time > stale
		if old && (attached && last.Time >= since || !attached && last.Time >= c.gone) {
			c.until = now + c.calm // it waits, or was split unseen
		}
		return last.Time < since && (c.split || l.devices.splits(last.Ifindex) || old && now-since < consumeDoubt)
	})
}
