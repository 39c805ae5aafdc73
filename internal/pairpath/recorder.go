package pairpath

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// maxCrossings is how many packets of a way are kept to be found again on the other node.
const maxCrossings = 2000

// Recorder makes a Half of records. It is not safe for concurrent use; Wants is.
type Recorder struct {
	sides map[netip.Addr]side
	there way
	back  way
}

// NewRecorder returns one for a query's packets.
func NewRecorder(q Query) *Recorder {
	return &Recorder{sides: q.sides(), there: newWay(q.Journeys), back: newWay(q.Journeys)}
}

// CrossSince leaves out, of the packets that are to be found again on the other node, those that began before that time of CLOCK_MONOTONIC:
// this node did not follow all of them then.
func (r *Recorder) CrossSince(since time.Duration) { r.there.since, r.back.since = since, since }

// Wants tells whether a record is of the query's packets. NAT may have changed either address, between the first hook and the last.
func (r *Recorder) Wants(rec *record.Record) bool {
	there, back := r.waysOf(rec)
	return there || back
}

// waysOf tells of a record whether its packet goes there, or back. Of one within both ends' addresses it goes there.
func (r *Recorder) waysOf(rec *record.Record) (there, back bool) {
	if rec.Kind == record.Connection {
		return false, false
	}
	src := r.sides[rec.First.Source.Addr()] | r.sides[rec.Last.Source.Addr()]
	dst := r.sides[rec.First.Destination.Addr()] | r.sides[rec.Last.Destination.Addr()]
	there = src&atSrc != 0 && dst&atDst != 0
	return there, !there && src&atDst != 0 && dst&atSrc != 0
}

// Add counts a record. What makes no path, or is not of the query's packets, it leaves out.
func (r *Recorder) Add(rec *record.Record, devices *journey.Devices) {
	there, back := r.waysOf(rec)
	if !there && !back {
		return
	}
	path, err := journey.PathOf(rec, devices)
	if err != nil {
		return
	}
	if there {
		r.there.add(rec, &path, devices)
	} else {
		r.back.add(rec, &path, devices)
	}
}

// Half is what was recorded in a window. usual is the learned p50 of stages.
func (r *Recorder) Half(window time.Duration, missed uint64, usual map[aggregate.StageKey]float64) Half {
	return Half{WindowSeconds: window.Seconds(), There: r.there.way(usual), Back: r.back.way(usual), Missed: missed}
}

// way is a Way that grows.
type way struct {
	packets    uint64
	crossed    uint64
	stages     map[aggregate.StageKey]*stage
	left, came crossings
	since      time.Duration // when crossings begin to count
	large      uint64
	merged     []Merged
	// Records that are kept whole.
	leftWhole, cameWhole, lostWhole keptRecords
}

func newWay(whole int) way {
	keeps := keptRecords{most: whole}
	return way{stages: map[aggregate.StageKey]*stage{}, leftWhole: keeps, cameWhole: keeps, lostWhole: keeps}
}

// stage is a Stage that grows.
type stage struct {
	Stage
	delay    hist.Histogram
	position float64 // how many stages packets have passed before, summed over those that came by
	count    float64
	reasons  map[string]uint64
}

func (w *way) stage(s *journey.Step, direction journey.Direction, position int) *stage {
	key := aggregate.StageKey{Stage: s.Stage, Direction: direction}
	if s.Device != nil {
		key.Device = s.Device.Label
	}
	found := w.stages[key]
	if found == nil {
		found = &stage{Stage: Stage{Stage: key.Stage, Device: key.Device, Direction: direction, NoQueue: s.NoQueue}, reasons: map[string]uint64{}}
		w.stages[key] = found
	}
	found.position += float64(position)
	found.count++
	return found
}

func (w *way) add(rec *record.Record, path *journey.Path, devices *journey.Devices) {
	weight := uint64(max(1, rec.Weight))
	steps := path.Steps()
	if rec.Kind == record.InFlight {
		// Elsewhere than in a queue it may have gone on unseen: its slot stays until another needs it.
		if path.Where.Stage.Queues() && path.Where.Device != nil && path.Where.Device.Queues {
			s := w.stage(&path.Where, path.Direction, len(steps))
			s.InFlight += float64(weight)
			s.Oldest = max(s.Oldest, path.Where.Delay.Seconds())
			s.Sum += path.Where.Delay.Seconds() * float64(weight)
		}
		return
	}
	dropped := rec.Kind == record.Dropped
	if dropped && !path.Loss() {
		// TCP frees so what it has taken and nobody reads any more, as acknowledgements to a closed connection: the packet came before.
		return
	}
	if dropped {
		w.lose(rec, path)
		if hasLeft(rec, devices) {
			w.cameWhole.replace(crossingOf(&rec.First, rec.Fingerprint, rec.Hops[0], devices).Packet, rec)
			return
		}
		w.packets++ // each drop has a record, whatever the journey stands for
	} else if path.StepsBeforeSplit == 0 {
		w.packets += weight
	}
	for i := path.StepsBeforeSplit; i < len(steps); i++ {
		s := w.stage(&steps[i], path.Direction, i)
		s.Packets += weight
		s.NoQueue = s.NoQueue && steps[i].NoQueue
		if !steps[i].Untimed && !steps[i].NoQueue {
			s.delay.Add(hist.ValueOf(steps[i].Delay), weight)
		}
		if !steps[i].Untimed {
			s.Sum += steps[i].Delay.Seconds() * float64(weight)
		}
	}
	w.cross(rec, path, devices)
}

// hasLeft tells of a dropped packet whether it was recorded before, as it left for its pod or a tunnel: it was lost behind that.
func hasLeft(rec *record.Record, devices *journey.Devices) bool {
	hops := rec.Hops[:rec.Len]
	if n := len(hops); n > 0 && hops[n-1].Hook == record.Free {
		hops = hops[:n-1]
	}
	if len(hops) == 0 || hops[len(hops)-1].Hook != record.Xmit {
		return false
	}
	d := devices.Find(hops[len(hops)-1].Ifindex)
	return d != nil && d.Leaves
}

// lose counts a packet that was lost.
func (w *way) lose(rec *record.Record, path *journey.Path) {
	s := w.stage(&path.Where, path.Direction, len(path.Steps()))
	s.Lost++
	s.reasons[cmp.Or(rec.Reason, journey.NotSpecified)]++
}

// cross keeps when a packet left the node, or came to it. A large one (GSO, GRO) is not the same packet on the other node, and one without a
// number of its own is not known there.
func (w *way) cross(rec *record.Record, path *journey.Path, devices *journey.Devices) {
	if rec.Len == 0 {
		return
	}
	first, last := rec.Hops[0], rec.Hops[rec.Len-1]
	leaves := path.Direction == journey.Out && rec.Kind == record.Finished && last.Hook == record.Xmit
	if path.Direction == journey.Out && rec.Kind == record.Split || leaves && path.StepsBeforeSplit == 0 { // the whole packet, not its segments
		w.crossed += uint64(max(1, rec.Weight))
	}
	known, lost := numberingOf(rec), rec.Kind == record.Dropped && path.Loss()
	came := path.Direction == journey.In && first.Hook == record.Ingress
	if first.Time >= w.since {
		switch {
		case leaves && rec.Segments > 1 || path.Direction == journey.Out && rec.Kind == record.Split:
			w.large++
		case came:
			w.addMerged(rec, first, devices)
		}
	}
	if rec.Segments > 1 || rec.SplitAt > 0 || rec.Fragment || known == without || first.Time < w.since {
		if lost {
			w.lostWhole.add(crossingOf(&rec.First, rec.Fingerprint, first, devices), rec)
		}
		return
	}
	switch {
	case leaves:
		c := crossingOf(&rec.Last, rec.Fingerprint, last, devices)
		w.left.cross(c, known, rec.Weight)
		w.leftWhole.add(c, rec)
	case came:
		c := crossingOf(&rec.First, rec.Fingerprint, first, devices)
		w.came.cross(c, known, rec.Weight)
		w.cameWhole.add(c, rec)
	case lost:
		w.lostWhole.add(crossingOf(&rec.First, rec.Fingerprint, first, devices), rec)
	}
}

// addMerged keeps what GRO has made of several packets.
func (w *way) addMerged(rec *record.Record, first record.Hop, devices *journey.Devices) {
	if rec.First.Protocol != protocolTCP || len(w.merged) >= maxCrossings {
		return
	}
	if payload := mergedPayload(rec); payload > 0 {
		c := crossingOf(&rec.First, rec.Fingerprint, first, devices)
		w.merged = append(w.merged, Merged{Flow: c.Flow, Seq: c.Seq, Bytes: payload})
	}
}

// maxLinkHeader is more than any device puts in front of an IP packet.
const maxLinkHeader = 32

// mergedPayload is how many bytes of payload a TCP packet has at least that GRO made of several: before the first hook, or behind it as a
// tunnel's device does. 0: it is not known to be one. A record does not tell how long TCP's header is: with the longest there can be, what
// came right behind is never taken for a part of it.
func mergedPayload(rec *record.Record) uint32 {
	headers := uint32(20 + 60)
	if !rec.First.Source.Addr().Unmap().Is4() {
		headers = 40 + 60
	}
	all := uint32(0) // bytes, with those of headers
	switch {
	case rec.Segments > 1:
		all = rec.IPBytes
	case rec.IPBytes > 0 && rec.WireBytes > rec.IPBytes+maxLinkHeader:
		// The first one had IPBytes, and the others no more. An egress counts headers with each.
		segments := (rec.WireBytes + rec.IPBytes - 1) / rec.IPBytes
		headers = segments * (headers + maxLinkHeader)
		all = rec.WireBytes
	}
	return max(all, headers) - headers
}

// crossings are the packets with the least numbers, at most maxCrossings of them: two nodes that see the same packets keep the same ones.
type crossings struct {
	total uint64
	kept  []Crossing
	limit uint64 // above the numbers of all that are kept, once some were left out; 0 before
	// passedOver is how many packets of a flow were not followed, of flows whose packets are known but by chance.
	passedOver map[uint64]uint64
}

// cross adds a packet that stands for as many as its weight.
func (c *crossings) cross(x Crossing, known numbering, weight uint32) {
	x.byChance = known == byChance
	if weight > 1 {
		x.OneIn = weight
	}
	if x.byChance && weight > 1 {
		if c.passedOver == nil {
			c.passedOver = map[uint64]uint64{}
		}
		c.passedOver[x.flow] += uint64(weight) - 1
	}
	c.add(x)
}

// forgetUnknown leaves out flows that are known but by chance, where more than one packet in five was passed over. Less is nothing: a packet
// also takes the weight of others, of any flow, for which there was no room.
func (c *crossings) forgetUnknown() {
	followed := map[uint64]float64{}
	for _, x := range c.kept {
		followed[x.flow] += float64(c.total) / float64(len(c.kept))
	}
	c.kept = slices.DeleteFunc(c.kept, func(x Crossing) bool {
		return x.byChance && float64(c.passedOver[x.flow]) > followed[x.flow]/4
	})
}

func (c *crossings) add(x Crossing) {
	c.total++
	if c.limit != 0 && x.Packet >= c.limit {
		return
	}
	c.kept = append(c.kept, x)
	if len(c.kept) >= 2*maxCrossings {
		c.shorten()
	}
}

// shorten keeps the least numbers, and of one that is there often two: it is not a packet's own. A number is kept with all of its packets
// or not at all, as one that is left would look like a packet's own.
func (c *crossings) shorten() {
	slices.SortFunc(c.kept, func(x, y Crossing) int { return cmp.Compare(x.Packet, y.Packet) })
	n := 0
	for _, x := range c.kept {
		if n < 2 || c.kept[n-2].Packet != x.Packet {
			c.kept[n] = x
			n++
		}
	}
	c.kept = c.kept[:n]
	if n > maxCrossings {
		c.limit = c.kept[maxCrossings].Packet
		n = maxCrossings
		for c.kept[n-1].Packet == c.limit {
			n--
		}
		c.kept = c.kept[:n]
	}
}

func (w *way) way(usual map[aggregate.StageKey]float64) Way {
	for _, c := range []*crossings{&w.left, &w.came} {
		c.shorten()
		c.forgetUnknown()
	}
	out := Way{
		Packets: w.packets, Stages: []Stage{}, Left: slices.Clone(w.left.kept), Came: slices.Clone(w.came.kept),
		LeftTotal: w.left.total, CameTotal: w.came.total, Crossed: w.crossed, Large: w.large, Merged: w.merged,
	}
	all := slices.SortedFunc(maps.Values(w.stages), func(x, y *stage) int {
		return cmp.Or(cmp.Compare(x.position/x.count, y.position/y.count), cmp.Compare(x.Stage.Stage, y.Stage.Stage), cmp.Compare(x.Device, y.Device))
	})
	for _, s := range all {
		if s.delay.Count() > 0 {
			s.P50, s.P99 = new(s.delay.Quantile(0.5)), new(s.delay.Quantile(0.99))
		}
		if p50, ok := usual[aggregate.StageKey{Stage: s.Stage.Stage, Device: s.Device, Direction: s.Direction}]; ok {
			s.Usual = &p50
		}
		for reason, n := range s.reasons {
			if n > s.reasons[s.Reason] || n == s.reasons[s.Reason] && reason < s.Reason {
				s.Reason = reason
			}
		}
		out.Stages = append(out.Stages, s.Stage)
	}
	return out
}
