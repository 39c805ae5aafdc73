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

// queue is all that is known of the queue stage of one device label in the window, or of the stage pod-queue.
type queue struct {
	device       string
	stage        journey.Stage
	direction    journey.Direction // of most of its packets
	devices      []netdev.Device   // those of the label that have a queue, at the end
	before       []netdev.Device   // the same at the start
	ends         []netdev.Device   // in stage pod-queue: the pods' devices on this side
	unread       bool              // what the qdiscs hold and have counted is not known
	threshold    Threshold
	unknownQdisc bool // no qdisc could be read

	stageDelays        // of the packets that came out
	passed      uint64 // sk_buffs that came out, timed or not

	inFlight       uint64         // packets in it at the end, clamped to its backlog
	ages           hist.Histogram // for how long they have been in it
	oldest         float64        // the longest of them, seconds
	inFlightPairs  []aggregate.PairKey
	inFlightBefore uint64

	drops   []aggregate.DropCount
	dropped uint64

	limit      *podLimit // its shapers limit pods; nil if they do not
	hasFinding bool      // by qdiscRules
}

// stageDelays is how long packets were in one stage of one device label.
type stageDelays struct {
	delay hist.Histogram
	pairs []pairStage
}

// pairStage is one pair's part of a stage.
type pairStage struct {
	*aggregate.Pair
	order   int             // among all pairs
	delay   *hist.Histogram // nil if none of its packets came out
	dropped uint64
}

func pairsOf(stages []pairStage) []*aggregate.Pair {
	pairs := make([]*aggregate.Pair, len(stages))
	for i := range stages {
		pairs[i] = stages[i].Pair
	}
	return pairs
}

// slow returns the delays of the pairs whose p50 is above a threshold in seconds, those with the longest sum first. If the
// stage is slow as a whole these are all pairs that it slows; if not it may still be slow for one class of packets, which
// shows in pairs with a fair number of packets that are together a fair part of all: single bursts are not.
func (s *stageDelays) slow(threshold float64) (hist.Histogram, []pairStage) {
	whole := s.delay.Quantile(0.5) >= threshold
	least := uint64(minClassPackets)
	if whole {
		least = 1
	}
	var slow hist.Histogram
	var pairs []pairStage
	for _, p := range s.pairs {
		if p.delay != nil && p.delay.Count() >= least && p.delay.Quantile(0.5) >= threshold {
			slow.Merge(p.delay)
			pairs = append(pairs, p)
		}
	}
	slices.SortFunc(pairs, func(x, y pairStage) int {
		return cmp.Or(cmp.Compare(y.delay.Sum(), x.delay.Sum()), cmp.Compare(x.order, y.order))
	})
	switch {
	case whole && len(pairs) == 0: // the pairs that make it slow are not kept apart
		return s.delay.Clone(), nil
	case !whole && float64(slow.Count()) < minClassShare*float64(s.delay.Count()):
		return hist.Histogram{}, nil
	}
	return slow, pairs
}

// queuesOf gathers the queues in which something was seen, in the order of their names. What they lost is theirs,
// whether it is too much or not.
func queuesOf(w *window) []*queue {
	queues := make(map[string]*queue)
	at := func(key aggregate.StageKey) *queue {
		q := queues[key.Device]
		if q == nil {
			q = &queue{device: key.Device, stage: key.Stage, direction: key.Direction}
			queues[key.Device] = q
		}
		return q
	}
	most := make(map[string]uint64)
	for i := range w.counts.Stages {
		if st := &w.counts.Stages[i]; st.Stage.Queues() {
			q := at(st.StageKey)
			q.delay.Merge(&st.Delay)
			q.passed += st.Passed()
			if st.Passed() > most[q.device] {
				most[q.device], q.direction = st.Passed(), st.Direction
			}
		}
	}
	for _, d := range w.losses.take(isQueueLoss) {
		q := at(d.StageKey)
		q.drops = append(q.drops, d)
		q.dropped += d.Packets
	}
	for i := range w.counts.InFlight {
		if f := &w.counts.InFlight[i]; f.Stage.Queues() {
			at(f.StageKey).addInFlight(f)
		}
	}
	for _, f := range w.inFlightBefore() {
		if q := queues[f.Device]; q != nil && f.Stage.Queues() {
			q.inFlightBefore += uint64(f.Packets)
		}
	}
	unknown := !slices.ContainsFunc(w.to.Devices, func(d netdev.Device) bool { return d.Root.Kind != "" })
	for _, q := range queues {
		q.devices, q.before = labelled(w.to.Devices, q.device), labelled(w.from.Devices, q.device)
		q.ends, q.unread = podEnds(w.to.Devices, q.device), anyUnread(w.to.Devices, q.device)
		q.threshold = thresholdOf(q.devices, w.to.ExpectQdisc)
		if q.unknownQdisc = unknown; unknown {
			q.threshold = unknownQueue
		}
		q.clampToBacklog()
		q.addPairs(w.counts.Pairs)
		// If the queue was removed, its packets still show in the encap stage.
		for i := range w.counts.Stages {
			if st := &w.counts.Stages[i]; st.Device == q.device && st.Stage == journey.Encap {
				q.passed = max(q.passed, st.Passed())
			}
		}
	}
	sorted := slices.Collect(maps.Values(queues))
	slices.SortFunc(sorted, func(x, y *queue) int { return cmp.Compare(x.device, y.device) })
	var divided []*queue
	for _, q := range sorted {
		divided = append(divided, q.byLimit(w)...)
	}
	for _, q := range divided {
		q.passed += w.passedUnhooked(q.devices)
	}
	return divided
}

func (q *queue) addInFlight(f *aggregate.InFlight) {
	q.inFlight += uint64(f.Packets)
	q.ages.Merge(&f.Ages)
	q.oldest = max(q.oldest, f.Oldest)
	for _, p := range f.Pairs {
		q.inFlightPairs = append(q.inFlightPairs, p.PairKey)
	}
}

// isQueueLoss tells whether a queue lost the packets. In the stage pod-queue a rule or a route may have.
func isQueueLoss(d *aggregate.DropCount) bool {
	return d.Stage == journey.Queue || d.Stage == journey.PodQueue && journey.IsQueueDrop(d.Reason, d.Location)
}

// labelled returns the devices that share a label and have a queue; pods' ends with the index of the device on this side.
func labelled(devices []netdev.Device, label string) []netdev.Device {
	var out []netdev.Device
	for _, d := range podEnds(devices, label) {
		end := d.PodEnd.AsDevice()
		end.Index = d.Index
		out = append(out, end)
	}
	for _, d := range devices {
		if d.Root.Queues() && d.Role.Label(d.Name) == label {
			out = append(out, d)
		}
	}
	return out
}

// clampToBacklog takes from the packets in flight those beyond the queue's backlog: packets that left where no hook saw it
// look as if they were in flight for ever. A queue is first in, first out in the main, so those that really wait are the
// youngest. Where the backlog reads 0 (a qdisc may not say) they are left if nothing came out at all.
func (q *queue) clampToBacklog() {
	b := q.backlog()
	if q.unread || b >= q.inFlight || b == 0 && q.passed == 0 {
		return
	}
	var ages hist.Histogram
	left := b
	for upper, n := range q.ages.Buckets() {
		n = min(n, left)
		ages.Observe(upper, n)
		left -= n
	}
	q.inFlight, q.ages, q.oldest = b, ages, ages.Max()
}

// ClampToBacklog returns what is in flight in a queue, at most the backlog of the devices' qdiscs; passed is
// how many packets came out in the window. Where there is no queue all of it is.
func ClampToBacklog(f aggregate.InFlight, devices []netdev.Device, passed uint64) aggregate.InFlight {
	q := queue{devices: labelled(devices, f.Device), unread: anyUnread(devices, f.Device), passed: passed}
	if len(q.devices) == 0 {
		return f
	}
	q.addInFlight(&f)
	q.clampToBacklog()
	f.Packets, f.Ages, f.Oldest = float64(q.inFlight), q.ages, q.oldest
	return f
}

// backlog is how many packets the qdiscs say are in them.
func (q *queue) backlog() uint64 {
	var b uint64
	for _, d := range q.devices {
		b += d.Root.Total(func(q netdev.Qdisc) uint64 { return q.BacklogPackets })
	}
	return b
}

// counted is how many drops the qdiscs themselves counted in the window; false if that is not known.
func (q *queue) counted() (uint64, bool) {
	drops := func(q netdev.Qdisc) uint64 { return q.Drops }
	if q.unread {
		return 0, false
	}
	var n uint64
	for _, d := range q.devices {
		i := slices.IndexFunc(q.before, func(b netdev.Device) bool { return b.Index == d.Index })
		if i < 0 {
			return 0, false
		}
		before := q.before[i].Root
		if !before.Is(d.Root) {
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

// arrived is how many packets came to the queue in the window: those that came out, those lost, and by how many it has
// grown.
func (q *queue) arrived() uint64 {
	return q.dropped + q.passed + q.inFlight - min(q.inFlight, q.inFlightBefore)
}

// lossRatio is the share of what arrived that was lost.
func (q *queue) lossRatio() float64 { return float64(q.dropped) / float64(max(1, q.arrived())) }

// addPairs finds each pair's part.
func (q *queue) addPairs(pairs []aggregate.Pair) {
	for i := range pairs {
		p := pairStage{Pair: &pairs[i], order: i}
		for j := range p.Stages {
			if st := &p.Stages[j]; st.Stage == q.stage && st.Device == q.device {
				p.delay = &st.Delay
			}
		}
		for _, d := range p.Drops {
			if isQueueLoss(&d) && d.Device == q.device && d.Loss {
				p.dropped += d.Packets
			}
		}
		if p.delay != nil || p.dropped > 0 {
			q.pairs = append(q.pairs, p)
		}
	}
}
