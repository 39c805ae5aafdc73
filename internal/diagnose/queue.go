package diagnose

import (
	"cmp"
	"maps"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// queue is all that is known of the queue stage of one device label in the window.
type queue struct {
	device    string
	direction journey.Direction // of most of its packets
	devices   []netdev.Device   // those of the label that have a queue, at the end
	before    []netdev.Device   // the same at the start
	expected  expectation
	unread    bool // no qdisc could be read

	timing        // of the packets that came out
	passed uint64 // sk_buffs that came out, timed or not

	held       uint64         // packets in it at the end, as far as its backlog bears them out
	heldAges   hist.Histogram // how long they are in it by now
	oldest     float64        // the longest of them, seconds
	heldBefore uint64
	heldPairs  []aggregate.PairKey

	drops   []aggregate.DropCount
	dropped uint64

	found bool // fault with it, by queueCauses
}

// pairQueue is one pair's part of it.
type pairQueue struct {
	*aggregate.Pair
	delay   *hist.Histogram // nil if none came out
	dropped uint64
}

// queueCauses are a queue's delay and its loss.
func queueCauses(w *window) []Finding {
	var found []Finding
	for _, q := range w.queues {
		for _, f := range []*Finding{q.delayed(w), q.dropping(w)} {
			if f != nil {
				found = append(found, *f)
				q.found = true
			}
		}
	}
	return found
}

// queuesOf gathers the queues in which something was seen, in the order of their names. What they lost is theirs,
// whether it is too much or not.
func queuesOf(w *window) []*queue {
	queues := make(map[string]*queue)
	at := func(key aggregate.StageKey) *queue {
		q := queues[key.Device]
		if q == nil {
			q = &queue{device: key.Device, direction: key.Direction}
			queues[key.Device] = q
		}
		return q
	}
	s := w.counts
	most := make(map[string]uint64)
	for i := range s.Stages {
		if st := &s.Stages[i]; st.Stage == journey.Queue {
			q := at(st.StageKey)
			q.delay.Merge(&st.Delay)
			q.passed += st.Passed()
			if st.Passed() > most[q.device] {
				most[q.device], q.direction = st.Passed(), st.Direction
			}
		}
	}
	for _, d := range w.losses.take(func(d *aggregate.DropCount) bool { return d.Stage == journey.Queue }) {
		q := at(d.StageKey)
		q.drops = append(q.drops, d)
		q.dropped += d.Packets
	}
	for i := range s.InFlight {
		if h := &s.InFlight[i]; h.Stage == journey.Queue {
			q := at(h.StageKey)
			q.held += uint64(h.Packets)
			q.heldAges.Merge(&h.Ages)
			q.oldest = max(q.oldest, h.Oldest)
			for _, p := range h.Pairs {
				q.heldPairs = append(q.heldPairs, p.PairKey)
			}
		}
	}
	for _, h := range w.inFlightBefore() {
		if q := queues[h.Device]; q != nil && h.Stage == journey.Queue {
			q.heldBefore += uint64(h.Packets)
		}
	}
	for _, q := range queues {
		q.devices, q.before = labelled(w.to.Devices, q.device), labelled(w.from.Devices, q.device)
		q.expected = expect(q.devices, w.to.ExpectQdisc)
		if q.unread = !slices.ContainsFunc(w.to.Devices, func(d netdev.Device) bool { return d.Root.Kind != "" }); q.unread {
			q.expected = ofUnread
		}
		q.believe()
		q.addPairs(s.Pairs)
		// A queue that is gone by now has left its packets' later stages alone.
		for i := range s.Stages {
			if st := &s.Stages[i]; st.Device == q.device && st.Stage == journey.Encap {
				q.passed = max(q.passed, st.Passed())
			}
		}
	}
	sorted := slices.Collect(maps.Values(queues))
	slices.SortFunc(sorted, func(x, y *queue) int { return cmp.Compare(x.device, y.device) })
	return sorted
}

// labelled returns the devices that share a label and have a queue.
func labelled(devices []netdev.Device, label string) []netdev.Device {
	var out []netdev.Device
	for _, d := range devices {
		if d.Root.Queues() && d.Role.Label(d.Name) == label {
			out = append(out, d)
		}
	}
	return out
}

// believe takes from the open journeys those that the queue's backlog does not bear out: packets that left where no
// hook saw it look as if they were held for ever. A queue is first in, first out in the main, so those that really
// wait are the youngest. Where the backlog reads 0 (a qdisc may not say) they are believed if nothing came out at all.
func (q *queue) believe() {
	b := q.backlog()
	if b >= q.held || b == 0 && q.passed == 0 {
		return
	}
	var ages hist.Histogram
	left := b
	for upper, n := range q.heldAges.Buckets() {
		n = min(n, left)
		ages.Observe(upper, n)
		left -= n
	}
	q.held, q.heldAges, q.oldest = b, ages, ages.Max()
}

// backlog is how many packets the qdiscs say they hold.
func (q *queue) backlog() uint64 {
	var b uint64
	for _, d := range q.devices {
		b += d.Root.Total(func(q netdev.Qdisc) uint64 { return q.BacklogPackets })
	}
	return b
}

// counted is by how much the qdiscs' own count of drops rose in the window; false if that is not known.
func (q *queue) counted() (uint64, bool) {
	drops := func(q netdev.Qdisc) uint64 { return q.Drops }
	var n uint64
	for _, d := range q.devices {
		i := slices.IndexFunc(q.before, func(b netdev.Device) bool { return b.Index == d.Index })
		if i < 0 {
			return 0, false
		}
		before := q.before[i].Root
		if before.Kind != d.Root.Kind || before.Handle != d.Root.Handle {
			return 0, false // another qdisc: it counts from zero
		}
		now, then := d.Root.Total(drops), before.Total(drops)
		if now < then {
			return 0, false
		}
		n += now - then
	}
	return n, len(q.devices) > 0
}

// addPairs finds each pair's part.
func (q *queue) addPairs(pairs []aggregate.Pair) {
	for i := range pairs {
		p := pairQueue{Pair: &pairs[i]}
		for j := range p.Stages {
			if st := &p.Stages[j]; st.Stage == journey.Queue && st.Device == q.device {
				p.delay = &st.Delay
			}
		}
		for _, d := range p.Drops {
			if d.Stage == journey.Queue && d.Device == q.device && d.Loss {
				p.dropped += d.Packets
			}
		}
		if p.delay != nil || p.dropped > 0 {
			q.pairs = append(q.pairs, p)
		}
	}
}
