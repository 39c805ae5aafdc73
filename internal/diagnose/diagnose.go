package diagnose

import (
	"cmp"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Input is all that a diagnosis looks at.
type Input struct {
	Node    string
	Started time.Time     // of the window
	Window  time.Duration // its length
	// Snapshot is the window's: what happened in it, and what is held at its end.
	Snapshot *aggregate.Snapshot
	// InFlightBefore is what was held at the window's start; nil if tracing began with it.
	InFlightBefore []aggregate.InFlight
	// Devices are those at the window's end with their qdiscs' counters as read then: the backlog tells which
	// open journeys really wait there. Before are those at its start; nil if unknown.
	Devices, Before []netdev.Device
	// Baseline is the usual p50 delay of a stage in seconds, where it is known.
	Baseline map[aggregate.StageKey]float64
	// Stats are what the kernel counts by itself, at the window's end, StatsBefore at its start.
	Stats, StatsBefore record.Stats
	// Events are changes up to the window's end, the oldest first.
	Events []netdev.Event
	// Lookups are what the routing table says of packets that were lost lately in a place that means no route.
	Lookups []record.RouteLookup
	// ActiveDevices are the devices that have carried packets of ours since tracing began.
	ActiveDevices map[string]bool
	// DropsUnseen tells that losses on this node are not seen: what TCP sends again may have been lost here.
	DropsUnseen bool
	// ExpectQdisc are the root qdiscs that are there on purpose, by device.
	ExpectQdisc map[string]string
}

// window is an Input with what several causes look at, worked out once.
type window struct {
	Input
	queues []*queue
	// losses are the packets lost that no cause has claimed yet.
	losses losses
	byKey  map[aggregate.PairKey]*aggregate.Pair // by back
}

// seconds is how long the window is, and never nothing: rates are taken by it.
func (w *window) seconds() float64 { return max(w.Window.Seconds(), 1e-3) }

// family finds the causes of one kind in a window. It looks for itself, except that it takes from the window's losses
// what it explains.
type family func(*window) []Finding

// families are asked in this order. Of two that know a reason for a loss the first explains it, so that no packet is
// explained twice.
func families() []family {
	return []family{
		queueCauses,
		linkCauses,
		policyCauses,
		routingCauses,
		receiveCauses,
		receiverCauses,
		stageCauses,
		misconfigurations,
		remoteCauses,
		unknownCauses, // takes what nobody else does, so the last
	}
}

// Diagnose judges a window.
func Diagnose(in Input) Report {
	if in.Snapshot == nil {
		in.Snapshot = &aggregate.Snapshot{}
	}
	r := Report{
		SchemaVersion: SchemaVersion,
		Node:          in.Node,
		Started:       in.Started,
		WindowSeconds: in.Window.Seconds(),
		Verdict:       Healthy,
		Findings:      []Finding{},
	}
	w := &window{Input: in, losses: lossesOf(in.Snapshot)}
	w.queues = queuesOf(w)
	for _, find := range families() {
		r.Findings = append(r.Findings, find(w)...)
	}
	// What is critical comes first even where a warning adds up to more time: it is what the verdict is about.
	slices.SortStableFunc(r.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(rank(x.Severity), rank(y.Severity)), cmp.Compare(y.pain, x.pain))
	})
	switch {
	case len(r.Findings) > 0 && r.Findings[0].Severity == Critical:
		r.Verdict = Fault
	case !traffic(in.Snapshot):
		r.Verdict = NoTraffic
	}
	r.Summary = summarize(&r, w)
	return r
}

func rank(s Severity) int { return slices.Index([]Severity{Critical, Warning, Info}, s) }

// traffic tells whether anything was on its way in the window.
func traffic(s *aggregate.Snapshot) bool {
	return len(s.Pairs) > 0 || len(s.InFlight) > 0 ||
		slices.ContainsFunc(s.Drops, func(d aggregate.DropCount) bool { return d.Loss })
}

// confidence is how sure a finding is: samples/(samples+2), so that 3 make 0.6 and 100 make 0.98, times how far the
// evidence agrees (0 to 1, where none at all still leaves half), times the share of records that was not lost.
func confidence(samples, agreement float64, s *aggregate.Snapshot) float64 {
	c := samples / (samples + 2) * (0.5 + 0.5*agreement)
	if s.MissedRecords > 0 {
		c *= 1 - float64(s.MissedRecords)/float64(s.MissedRecords+s.Records)
	}
	return max(0.01, c)
}
