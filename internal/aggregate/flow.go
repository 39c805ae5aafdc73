package aggregate

import (
	"time"
	"unique"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// maxFlowStages bounds the stages that a flow keeps: paths through a node seldom have more.
const maxFlowStages = 6

// flowStage is the time that a flow's packets were in a stage.
type flowStage struct {
	*stage  // that of all pairs together; nil in one that is free
	count   uint64
	seconds float64
}

// flow is a Flow that grows. There are thousands of them: so what is in the key is not kept twice, and names are shared.
// The fields that each packet changes come first, next to each other in memory.
type flow struct {
	pair               *pair
	version            uint64 // of its names; 0 if they must be looked up for each packet
	promoted, lastSeen time.Duration
	packets, bytes     float64
	changed            bool // since cached
	path               hist.Histogram
	stages             [maxFlowStages]flowStage
	newer, older       *flow // in the flowList

	src, dst     unique.Handle[Identity] // set with pair
	service      string                  // by the destination before NAT
	drops        uint64
	refused      uint64 // SYNs that nobody listened for
	dropReason   string
	tcp          FlowTCP
	key          flowKey
	opened       time.Duration // when the last of its packets came or left, if it may be SYNs, or SYN-ACKs, all of them; else 0
	openSize     uint32        // bytes of each of those
	end          uint8         // of its conversation, that sends it
	conversation *conversation // nil as long as it was not asked for
	cached       *Flow         // the last snapshot; nil until there is one, as flows are most of the memory
}

// snapshot returns a copy that does not change any more.
func (f *flow) snapshot() Flow {
	if f.cached == nil || f.changed {
		f.changed = false
		f.cached = &Flow{
			First: f.key.first(), Last: f.key.last(), Direction: f.key.journeyDirection(), Src: f.src.Value(), Dst: f.dst.Value(),
			Packets: f.packets, Bytes: f.bytes, Path: f.path.Clone(), Drops: f.drops, DropReason: f.dropReason, TCP: f.tcp,
			LastSeen: f.lastSeen,
		}
		n := 0
		for n < maxFlowStages && f.stages[n].stage != nil {
			n++
		}
		f.cached.Stages = make([]StageTime, n)
		for i, s := range f.stages[:n] {
			f.cached.Stages[i] = StageTime{s.StageKey, s.count, s.seconds}
		}
	}
	return *f.cached
}

// observe adds a packet's time in a stage, if the flow has that stage or room for it.
func (f *flow) observe(s *stage, step *journey.Step, weight uint64) {
	if step.Untimed {
		return
	}
	for i := range f.stages {
		t := &f.stages[i]
		if t.stage == nil {
			t.stage = s
		}
		if t.stage == s {
			t.count += weight
			t.seconds += step.Delay.Seconds() * float64(weight)
			return
		}
	}
}

// promoteEvery is how often a flow is moved to the front of the flowList at most, as that touches the memory of two others.
const promoteEvery = time.Second

// flow returns the flow of a record, with the pair it belongs to.
func (a *Aggregator) flow(rec *record.Record, direction journey.Direction) *flow {
	key := newFlowKey(rec, direction)
	f, renewed := a.flows[key], false
	switch {
	case f == nil:
		f = a.newFlow(key)
		f.promoted = rec.Time
		a.lru.push(f)
	case f != a.lru.newest && rec.Time-f.promoted >= promoteEvery:
		f.promoted = rec.Time
		a.lru.remove(f)
		a.lru.push(f)
		renewed = true
	}
	a.resolve(f, rec)
	if renewed {
		a.connections.add(f) // a port may have been another one's meanwhile
	}
	return f
}

// resolve sets the flow's names and its pair. A pod may take over another one's address, or become known late: so what was
// looked up holds for the namer's version, and where that does not serve, for one packet.
func (a *Aggregator) resolve(f *flow, rec *record.Record) {
	at := rec.Start()
	var version uint64
	if a.versioned != nil {
		if v, since := a.versioned.Version(); at >= since {
			version = v
		}
	}
	resolved := f.pair != nil && !f.pair.evicted && !(f.pair.other && a.hasRoom(rec.Time))
	if resolved && version != 0 && version == f.version {
		return
	}
	src, dst := a.namer.Lookup(rec.First.Source.Addr(), at), a.namer.Lookup(rec.Last.Destination.Addr(), at)
	service := f.service
	if service == "" {
		if rec.First.Destination == rec.Last.Destination {
			service = serviceOf(dst) // a virtual address that was not translated, or not yet
		} else {
			service = serviceOf(a.namer.Lookup(rec.First.Destination.Addr(), at))
		}
	}
	f.version = version
	if src.Workload == "" || dst.Workload == "" {
		f.version = 0 // asked each time, as the namer counts its misses
	}
	endpointOf := ""
	if service == "" {
		endpointOf = EndpointOf(a.namer, rec.Last)
	}
	if resolved && src == f.src.Value() && dst == f.dst.Value() && service == f.service && (endpointOf == "" || endpointOf == f.pair.EndpointOf) {
		return
	}
	f.src, f.dst, f.service = unique.Make(src), unique.Make(dst), service
	f.pair = a.pair(newPairKey(src, dst, f.key.journeyDirection()), rec.Time)
	if service != "" && !f.pair.other {
		f.pair.Service = service
	}
	if endpointOf != "" && !f.pair.other {
		f.pair.EndpointOf = endpointOf
	}
	a.connections.add(f)
	if !f.pair.other && !f.pair.Ends.of(f, rec) {
		f.pair.Ends = endsOf(f, rec)
	}
}

// newFlow returns an empty flow for key. If there are too many, it reuses the memory of the least recently seen one.
func (a *Aggregator) newFlow(key flowKey) *flow {
	var f *flow
	if len(a.flows) < a.maxFlows {
		f = &flow{}
	} else {
		f = a.lru.oldest
		a.lru.remove(f)
		delete(a.flows, f.key)
		a.flowOverflow++
		path := f.path
		path.Reset()
		*f = flow{path: path}
	}
	f.key = key
	a.flows[key] = f
	return f
}
