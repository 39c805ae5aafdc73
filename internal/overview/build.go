package overview

import (
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/netdev"
	"tracer/internal/trace"
)

// Input is what an Overview is made of.
type Input struct {
	About  About
	Taken  time.Time
	Window *aggregate.Snapshot
	// Devices are those at the window's end, Before those at its start.
	Devices, Before []netdev.Device
	Report          diagnose.Report
	// Workloads are those of the pods behind devices, as namespace/name, by the device's index, as far as they are known.
	Workloads map[int]string
	// LinkSpeeds are bits a second, by the device's index, of those that have a link whose speed is known.
	LinkSpeeds map[int]float64
	// Baseline is the learnt p50 of a stage, where it is known.
	Baseline map[aggregate.StageKey]float64
	// History, RequestHistory and Slowest are those of the query's pair, if it names one.
	History        []Trend
	RequestHistory *RequestTrend
	Slowest        []trace.Trace
}

// builder holds what is looked up while an Overview is made.
type builder struct {
	Input
	seconds    float64
	roles      map[string]netdev.Role // by label
	warnAbove  map[string]*float64    // by the label of a queue's devices; nil if it has none
	inFlight   []aggregate.InFlight   // clamped to their queues' backlogs
	pairsByKey map[aggregate.PairKey]*aggregate.Pair
	silent     map[aggregate.PairKey][]*aggregate.Unanswered // see silentOf
}

// Build makes an Overview.
func Build(in Input, q Query) *Overview {
	in.Window = withoutEmptyPairs(in.Window)
	b := builder{
		Input: in, seconds: max(in.Window.Window.Seconds(), 1e-3), roles: map[string]netdev.Role{}, warnAbove: map[string]*float64{},
	}
	for i := range in.Devices {
		d := &in.Devices[i]
		b.roles[d.Role.Label(d.Name)] = d.Role
	}
	b.inFlight = b.clampedInFlight()
	o := &Overview{
		SchemaVersion: SchemaVersion, About: in.About, Taken: in.Taken, WindowSeconds: in.Window.Window.Seconds(),
		VerdictWindowSeconds: in.Report.WindowSeconds, Verdict: in.Report.Verdict, Summary: in.Report.Summary,
		Findings: in.Report.Findings, Sentences: sentences(&in.Report), Coverage: in.Report.Coverage,
		MissedPerSecond: float64(in.Window.MissedRecords) / b.seconds, By: q.By,
		Devices: b.devices(), InFlight: b.inFlightOf(nil), Drops: b.dropsOf(in.Window.Drops),
	}
	if o.HooksMissing == nil {
		o.HooksMissing = []string{}
	}
	if o.Coverage == nil {
		o.Coverage = []diagnose.Coverage{}
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
