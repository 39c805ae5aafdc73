package aggregate

import (
	"net/netip"
	"time"
	"unique"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// flowKey is a flow's two tuples without padding or pointers, so that hashing it is one pass over memory.
type flowKey struct {
	address   [4][16]byte
	port      [4]uint16
	protocol  record.Protocol
	direction uint8
}

func newFlowKey(rec *record.Record, direction journey.Direction) flowKey {
	k := flowKey{
		address: [4][16]byte{
			rec.First.Source.Addr().As16(), rec.First.Destination.Addr().As16(),
			rec.Last.Source.Addr().As16(), rec.Last.Destination.Addr().As16(),
		},
		port: [4]uint16{
			rec.First.Source.Port(), rec.First.Destination.Port(),
			rec.Last.Source.Port(), rec.Last.Destination.Port(),
		},
		protocol: rec.First.Protocol,
	}
	switch direction {
	case journey.Out:
		k.direction = keyOut
	case journey.In:
		k.direction = keyIn
	case journey.Local:
		k.direction = keyLocal
	}
	return k
}

// The directions in a flowKey.
const (
	keyOut = iota + 1
	keyIn
	keyLocal
)

// first and last are the tuples that the key was made of.
func (k *flowKey) first() record.Flow { return k.tuple(0) }
func (k *flowKey) last() record.Flow  { return k.tuple(2) }

func (k *flowKey) tuple(from int) record.Flow {
	end := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(k.address[i]).Unmap(), k.port[i])
	}
	return record.Flow{Source: end(from), Destination: end(from + 1), Protocol: k.protocol}
}

func (k *flowKey) way() journey.Direction {
	return [...]journey.Direction{keyOut: journey.Out, keyIn: journey.In, keyLocal: journey.Local}[k.direction]
}

// maxFlowStages bounds the stages that a flow keeps: a way through a node has seldom more.
const maxFlowStages = 6

// flowStage is the time that a flow's packets were in a stage.
type flowStage struct {
	*stage  // that of all pairs together; nil if there is none
	count   uint64
	seconds float64
}

// flow is a Flow that grows. There are thousands of them, so each keeps but once what its key has, and shares its names.
// What each packet changes comes first, to be next to each other in memory.
type flow struct {
	pair           *pair
	version        uint64 // of the names that it has; 0 if they are to be looked up for each packet
	listed, seen   time.Duration
	packets, bytes float64
	dirty          bool // changed since shot
	path           hist.Histogram
	stages         [maxFlowStages]flowStage
	newer, older   *flow // in the order of last sight, as far as it was listed

	src, dst   unique.Handle[Identity] // set with pair
	service    string                  // named by the destination before NAT
	drops      uint64
	dropReason string
	tcp        FlowTCP
	key        flowKey
	shot       *Flow // nil until somebody looks: flows are most of our memory
}

// frozen returns a copy that does not change any more.
func (f *flow) frozen() Flow {
	if f.shot == nil || f.dirty {
		f.dirty = false
		f.shot = &Flow{
			First: f.key.first(), Last: f.key.last(), Direction: f.key.way(), Src: f.src.Value(), Dst: f.dst.Value(),
			Packets: f.packets, Bytes: f.bytes, Path: f.path.Clone(), Drops: f.drops, DropReason: f.dropReason, TCP: f.tcp,
			LastSeen: f.seen,
		}
		n := 0
		for n < maxFlowStages && f.stages[n].stage != nil {
			n++
		}
		f.shot.Stages = make([]StageTime, n)
		for i, s := range f.stages[:n] {
			f.shot.Stages[i] = StageTime{s.StageKey, s.count, s.seconds}
		}
	}
	return *f.shot
}

// observe adds a packet's time in a stage, unless there is no room for one more stage.
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

// listEvery is how exact the order of last sight is: a flow that moved up for each packet would touch two others' memory.
const listEvery = time.Second

// flow returns the flow of a record, with the pair it belongs to.
func (a *Aggregator) flow(rec *record.Record, direction journey.Direction) *flow {
	key := newFlowKey(rec, direction)
	f := a.flows[key]
	switch {
	case f == nil:
		f = a.newFlow(key)
		f.listed = rec.Time
		a.recent.push(f)
	case f != a.recent.newest && rec.Time-f.listed >= listEvery:
		f.listed = rec.Time
		a.recent.remove(f)
		a.recent.push(f)
	}
	a.name(f, rec)
	return f
}

// name says whose the flow is. A pod may take over another one's address, or become known late: so what was looked up
// holds as long as the namer says so, and else for one packet.
func (a *Aggregator) name(f *flow, rec *record.Record) {
	at := rec.Start()
	var version uint64
	if a.steady != nil {
		if v, since := a.steady.Version(); at >= since {
			version = v
		}
	}
	settled := f.pair != nil && !f.pair.gone && !(f.pair.other && a.room(rec.Time))
	if settled && version != 0 && version == f.version {
		return
	}
	src, dst := a.namer.Lookup(rec.First.Source.Addr(), at), a.namer.Lookup(rec.Last.Destination.Addr(), at)
	service := f.service
	if service == "" {
		if rec.First.Destination == rec.Last.Destination {
			service = serviceOf(dst) // a virtual address that nothing has translated (yet)
		} else {
			service = serviceOf(a.namer.Lookup(rec.First.Destination.Addr(), at))
		}
	}
	f.version = version
	if src.Workload == "" || dst.Workload == "" {
		f.version = 0 // the namer counts how often nobody was found
	}
	if settled && src == f.src.Value() && dst == f.dst.Value() && service == f.service {
		return
	}
	f.src, f.dst, f.service = unique.Make(src), unique.Make(dst), service
	f.pair = a.pair(keyOf(src, dst, f.key.way()), rec.Time)
	if service != "" && !f.pair.other {
		f.pair.Service = service
	}
}

// newFlow returns an empty flow under key. If there are too many it is the one least recently seen, with its memory.
func (a *Aggregator) newFlow(key flowKey) *flow {
	var f *flow
	if len(a.flows) < a.maxFlows {
		f = &flow{}
	} else {
		f = a.recent.oldest
		a.recent.remove(f)
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

// flowList is the flows in the order of last sight.
type flowList struct {
	newest, oldest *flow
}

func (l *flowList) push(f *flow) {
	f.newer, f.older = nil, l.newest
	if l.newest != nil {
		l.newest.newer = f
	} else {
		l.oldest = f
	}
	l.newest = f
}

func (l *flowList) remove(f *flow) {
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		l.newest = f.older
	}
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		l.oldest = f.newer
	}
}
