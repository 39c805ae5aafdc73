package overview

import (
	"cmp"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/trace"
)

// Input is all that an Overview is made of.
type Input struct {
	About  About
	Taken  time.Time
	Window *aggregate.Snapshot
	// Devices are those at the window's end, Before those at its start.
	Devices, Before []netdev.Device
	Report          diagnose.Report
	// Baseline is the usual p50 of a stage in seconds, where it is known.
	Baseline map[aggregate.StageKey]float64
	// History and Slow are those of the query's pair, if it names one.
	History []Trend
	Slow    []trace.Trace
}

// builder holds what is looked up while an Overview is made.
type builder struct {
	Input
	seconds float64
	roles   map[string]netdev.Role // by label
	usual   map[string]*float64    // of a label's queue; nil if it has none
	held    []aggregate.InFlight   // as far as it is believed
	byKey   map[aggregate.PairKey]*aggregate.Pair
}

// pairOf is a pair of the window, nil if it is not among them.
func (b *builder) pairOf(key aggregate.PairKey) *aggregate.Pair {
	if b.byKey == nil {
		b.byKey = make(map[aggregate.PairKey]*aggregate.Pair, len(b.Window.Pairs))
		for i := range b.Window.Pairs {
			b.byKey[b.Window.Pairs[i].PairKey] = &b.Window.Pairs[i]
		}
	}
	return b.byKey[key]
}

// Build makes an Overview.
func Build(in Input, q Query) *Overview {
	b := builder{
		Input: in, seconds: max(in.Window.Window.Seconds(), 1e-3), roles: map[string]netdev.Role{}, usual: map[string]*float64{},
	}
	for i := range in.Devices {
		d := &in.Devices[i]
		b.roles[d.Role.Label(d.Name)] = d.Role
	}
	for _, h := range in.Window.InFlight {
		passed := uint64(0)
		for i := range in.Window.Stages {
			if s := &in.Window.Stages[i]; s.StageKey == h.StageKey {
				passed = s.Passed()
			}
		}
		if h.Stage == journey.Queue {
			h = diagnose.ClampToBacklog(h, in.Devices, passed)
		}
		if h.Packets > 0 {
			b.held = append(b.held, h)
		}
	}
	o := &Overview{
		SchemaVersion: SchemaVersion, About: in.About, Taken: in.Taken, WindowSeconds: in.Window.Window.Seconds(),
		Verdict: in.Report.Verdict, Summary: in.Report.Summary, Findings: in.Report.Findings,
		LostPerSecond: float64(in.Window.MissedRecords) / b.seconds, By: q.By,
		Devices: b.devices(), Held: b.heldOf(nil), Drops: b.dropsOf(in.Window.Drops),
	}
	if o.Missing == nil {
		o.Missing = []string{}
	}
	if o.Findings == nil {
		o.Findings = []diagnose.Finding{}
	}
	for i := range in.Window.Pairs {
		o.PacketsPerSecond += in.Window.Pairs[i].Packets / b.seconds
		o.BitsPerSecond += in.Window.Pairs[i].Bytes * 8 / b.seconds
	}
	var rows []Row
	switch q.By {
	case ByFlow:
		rows = b.flows()
	case ByService:
		rows = b.services()
	case ByPair:
		rows = b.pairs()
	}
	if rows != nil {
		rows = q.Filter.Apply(rows)
		o.RowsTotal = len(rows)
		o.Rows = q.Sort.Rows(rows, q.Limit)
	}
	if q.Pair != nil {
		o.Detail = b.detail(*q.Pair)
	}
	return o
}

// usualOf is the usual p50 of a place, nil where none is known.
func (b *builder) usualOf(p Place) *float64 {
	if p.Stage != journey.Queue {
		return nil
	}
	u, ok := b.usual[p.Device]
	if !ok {
		if usual, queues := diagnose.ThresholdOf(b.Devices, p.Device); queues {
			u = &usual.WarnDelay
		}
		b.usual[p.Device] = u
	}
	return u
}

// baselineOf is the usual p50 of a place as it was learnt, of the first direction that it is known of.
func (b *builder) baselineOf(p Place, directions ...journey.Direction) *float64 {
	for _, direction := range directions {
		if usual, ok := b.Baseline[aggregate.StageKey{Stage: p.Stage, Device: p.Device, Direction: direction}]; ok {
			return &usual
		}
	}
	return nil
}

// rank is a stage's place on the way through a node.
func (b *builder) rank(p Place) int {
	role := b.roles[p.Device]
	switch p.Stage {
	case journey.Decap:
		return 0
	case journey.Forward:
		return 1
	case journey.Queue:
		switch role {
		case netdev.RoleOverlay:
			return 2
		case netdev.RoleUplink:
			return 4
		}
		return 5
	case journey.Encap:
		return 3
	}
	return 6
}

// order sorts stages as packets meet them. Of two uplinks (a VLAN and the device under it) the one whose packets are
// wrapped comes first.
func (b *builder) order(stages []Stage) {
	slices.SortStableFunc(stages, func(x, y Stage) int { return cmp.Compare(b.rank(x.Place), b.rank(y.Place)) })
}

func delayOf(h *hist.Histogram) *Delay {
	if h.Count() == 0 {
		return nil
	}
	return &Delay{P50: h.Quantile(0.5), P99: h.Quantile(0.99)}
}

// finish fills in what follows from a row's stages: shares, what is slow, what is held, the worst one. waiting is what
// is held of it by stage; rto is the time after which a packet of it that was lost is sent again.
func (b *builder) finish(r *Row, stages []Stage, waiting map[Place]aggregate.InFlightPair, rto float64) {
	for place := range waiting {
		if !slices.ContainsFunc(stages, func(s Stage) bool { return s.Place == place }) {
			stages = append(stages, Stage{Place: place})
		}
	}
	b.order(stages)
	var all, most, extra float64
	spent := make([]float64, len(stages))
	for i := range stages {
		s := &stages[i]
		w := waiting[s.Place]
		s.Held, s.Oldest = w.Packets, w.Oldest
		// Those that wait have waited half as long as the oldest, on average.
		passed, inside := s.Mean*float64(s.Packets), w.Packets*w.Oldest/2
		spent[i] = passed + inside
		all += spent[i]
		s.Usual = b.usualOf(s.Place)
		s.Baseline = b.baselineOf(s.Place, r.Direction)
		baseline := 0.0
		if s.Baseline != nil {
			baseline = *s.Baseline
		}
		extra += inside + aggregate.Excess(passed, s.Packets, baseline)
		s.Slow = s.Usual != nil && (s.Delay != nil && s.Delay.P50 > *s.Usual || s.Oldest > max(10**s.Usual, 0.1))
		if spent[i] > most {
			most = spent[i]
			r.Worst = &s.Place
		}
		if w.Oldest > r.OldestSeconds {
			r.Held, r.OldestSeconds = w.Packets, w.Oldest
		}
	}
	for i := range stages {
		if all > 0 {
			stages[i].Share = spent[i] / all
		}
	}
	if stages == nil {
		stages = []Stage{}
	}
	r.Stages = stages
	r.Pain = (extra + float64(r.Drops.Packets)*rto) / b.seconds
}

// heldOf lists what is held, of one pair or of all.
func (b *builder) heldOf(pair *aggregate.PairKey) []Held {
	out := []Held{}
	for i := range b.held {
		h := &b.held[i]
		if pair == nil {
			out = append(out, Held{Place{h.Stage, h.Device}, h.Direction, h.Packets, h.Oldest})
			continue
		}
		for _, p := range h.Pairs {
			if p.PairKey == *pair {
				out = append(out, Held{Place{h.Stage, h.Device}, h.Direction, min(p.Packets, h.Packets), min(p.Oldest, h.Oldest)})
			}
		}
	}
	return out
}

// dropsOf lists losses, the most frequent first.
func (b *builder) dropsOf(drops []aggregate.DropCount) []Drop {
	out := []Drop{}
	for _, d := range drops {
		if d.Loss {
			out = append(out, Drop{
				Place: Place{d.Stage, d.Device}, Direction: d.Direction, Reason: d.Reason, Location: d.Location,
				Packets: d.Packets, PerSecond: float64(d.Packets) / b.seconds,
			})
		}
	}
	slices.SortStableFunc(out, func(x, y Drop) int { return cmp.Compare(y.Packets, x.Packets) })
	return out
}

// detail looks at one pair closely, though nothing of it may have been seen in the window.
func (b *builder) detail(key aggregate.PairKey) *Detail {
	pair := aggregate.Pair{PairKey: key}
	if i := slices.IndexFunc(b.Window.Pairs, func(p aggregate.Pair) bool { return p.PairKey == key }); i >= 0 {
		pair = b.Window.Pairs[i]
	}
	d := &Detail{Row: b.pair(&pair, b.waiting()[key]), Held: b.heldOf(&key), Drops: b.dropsOf(pair.Drops), History: b.History, Slow: b.Slow}
	if d.History == nil {
		d.History = []Trend{}
	}
	slices.SortStableFunc(d.History, func(x, y Trend) int { return cmp.Compare(b.rank(x.Place), b.rank(y.Place)) })
	if d.Slow == nil {
		d.Slow = []trace.Trace{}
	}
	return d
}
