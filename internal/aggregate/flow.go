package aggregate

import (
	"tracer/internal/journey"
	"tracer/internal/record"
)

// flowKey is a flow's two tuples without padding or pointers, so that hashing it is one pass over memory.
type flowKey struct {
	address   [4][16]byte
	port      [4]uint16
	protocol  uint8
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
		k.direction = 1
	case journey.In:
		k.direction = 2
	case journey.Local:
		k.direction = 3
	}
	return k
}

// maxFlowStages bounds the stages that a flow keeps: a way through a node has seldom more.
const maxFlowStages = 6

// flowStage is the time that a flow's packets were in a stage.
type flowStage struct {
	*stage  // that of all pairs together; nil if there is none
	count   uint64
	seconds float64
}

// flow is a Flow that grows.
type flow struct {
	Flow         // without Stages
	key          flowKey
	pair         *pair
	stages       [maxFlowStages]flowStage
	service      string // named by First.Destination
	newer, older *flow  // in the order of last sight
	dirty        bool   // changed since shot
	shot         Flow
}

// frozen returns a copy that does not change any more.
func (f *flow) frozen() Flow {
	if f.dirty {
		f.dirty = false
		f.shot = f.Flow
		f.shot.Path = f.Path.Clone()
		n := 0
		for n < maxFlowStages && f.stages[n].stage != nil {
			n++
		}
		f.shot.Stages = make([]StageTime, n)
		for i, s := range f.stages[:n] {
			f.shot.Stages[i] = StageTime{s.StageKey, s.count, s.seconds}
		}
	}
	return f.shot
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

// flow returns the flow of a record, now the most recently seen one, with the pair it belongs to.
func (a *Aggregator) flow(rec *record.Record, direction journey.Direction) *flow {
	key := newFlowKey(rec, direction)
	f := a.flows[key]
	if f == nil {
		f = a.newFlow(key)
		f.First, f.Last, f.Direction = rec.First, rec.Last, direction
	} else {
		a.recent.remove(f)
	}
	a.recent.push(f)

	// Addresses are looked up anew each time: a pod may take over another one's, or become known late.
	at := rec.Start()
	src, dst := a.namer.Lookup(rec.First.Source.Addr(), at), a.namer.Lookup(rec.Last.Destination.Addr(), at)
	service := f.service
	if service == "" {
		if rec.First.Destination == rec.Last.Destination {
			service = serviceOf(dst) // a virtual address that nothing has translated (yet)
		} else {
			service = serviceOf(a.namer.Lookup(rec.First.Destination.Addr(), at))
		}
	}
	if f.pair == nil || f.pair.gone || f.pair.other && a.room(rec.Time) || src != f.Src || dst != f.Dst || service != f.service {
		f.Src, f.Dst, f.service = src, dst, service
		f.pair = a.pair(keyOf(src, dst, direction), rec.Time)
		if service != "" && !f.pair.other {
			f.pair.Service = service
		}
	}
	return f
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
		path := f.Path
		path.Reset()
		*f = flow{Flow: Flow{Path: path}}
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
