package overview

import (
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// RequestTrend is what became of a pair's requests over the last minutes, oldest first. The server's time, the stages', the other of this
// node and the rest add up to the client's. Times are null where nothing was answered, nobody at that end is here, or packets of both ways
// are not known; numbers are where nothing is known of that time.
type RequestTrend struct {
	EverySeconds float64        `json:"every_seconds"`
	PerSecond    []*float64     `json:"per_second"`            // answered
	Unanswered   []*float64     `json:"unanswered_per_second"` // given up, or waiting for longer than a minute
	Client       []*float64     `json:"client_p50_seconds"`    // the whole remote call
	Server       []*float64     `json:"server_p50_seconds"`    // no more than the whole
	Stages       []RequestStage `json:"stages"`
	Other        []*float64     `json:"other_seconds"` // on this node, in no stage that most packets meet
	Rest         []*float64     `json:"rest_seconds"`  // the network's, and the server's where that is not here
}

// RequestStage is what of a request packets of both ways spend in a stage on this node, over time; null where it has no part.
type RequestStage struct {
	Place
	Seconds []*float64 `json:"seconds"` // shared in proportion to the stages' p50s, together at most what the server leaves of the call
}

// RequestPoint is what became of a pair's requests in one window.
type RequestPoint struct {
	Requests            *Requests // nil if there were none
	UnansweredPerSecond float64
	Stages              []StageTime // the p50s of those that are part of Requests.Here, of either way
}

// StageTime is a delay in seconds.
type StageTime struct {
	Place
	Seconds float64
}

// RequestPoints are those of all pairs of a window that have asked something.
func RequestPoints(window *aggregate.Snapshot) map[aggregate.PairKey]RequestPoint {
	if !slices.ContainsFunc(window.Pairs, func(p aggregate.Pair) bool { return p.Requests != nil }) {
		return nil
	}
	b := builder{Input: Input{Window: withoutEmptyPairs(window)}, seconds: max(window.Window.Seconds(), 1e-3)}
	points := map[aggregate.PairKey]RequestPoint{}
	for i := range b.Window.Pairs {
		p := &b.Window.Pairs[i]
		if p.Requests == nil {
			continue
		}
		r := b.requests(p)
		stages := requestStages(p)
		if back := b.pairOf(p.Reverse()); back != nil {
			stages = append(stages, requestStages(back)...)
		}
		points[p.PairKey] = RequestPoint{r, float64(r.Unanswered) / b.seconds, stages}
	}
	return points
}

// requestStages are the p50s of a pair's stages that are part of a request's time on this node.
func requestStages(p *aggregate.Pair) (out []StageTime) {
	for i := range p.Stages {
		if s := &p.Stages[i]; InRequests(p, s) {
			out = append(out, StageTime{Place{s.Stage, s.Device}, s.Delay.Quantile(0.5)})
		}
	}
	return out
}

// InRequests tells whether a stage of a pair is part of the time that its requests spend on this node: most packets meet it, and it lies
// between the devices at which requests are timed. What lies behind a pod's device is in the server's time, or in no request's.
func InRequests(p *aggregate.Pair, s *aggregate.StageDelay) bool {
	return metByMost(p, s) && !atPod(s) && s.Stage != journey.Deliver
}

// metByMost tells whether most of a pair's packets meet a stage.
func metByMost(p *aggregate.Pair, s *aggregate.StageDelay) bool {
	return s.Delay.Count() > 0 && 2*s.Delay.Count() >= p.Path.Count()
}

// atPod tells of the queues at a pod's device: what waits for the pod that is asked is in the server's time, and what waits for the other
// one in no request's.
func atPod(s *aggregate.StageDelay) bool {
	return s.Stage == journey.PodQueue || s.Stage == journey.Queue && s.Device == netdev.PodLabel
}

// NewRequestTrend makes one of windows that are so many seconds long, from the first that has requests; nil if none has. Of a window that is
// nil nothing is known.
func NewRequestTrend(seconds float64, points []*RequestPoint) *RequestTrend {
	first := slices.IndexFunc(points, func(p *RequestPoint) bool { return p != nil && p.Requests != nil })
	if first < 0 {
		return nil
	}
	points = points[first:]
	values := func() []*float64 { return make([]*float64, len(points)) }
	t := &RequestTrend{
		EverySeconds: seconds, PerSecond: values(), Unanswered: values(),
		Client: values(), Server: values(), Stages: []RequestStage{}, Other: values(), Rest: values(),
	}
	for i, p := range points {
		if p == nil {
			continue
		}
		t.PerSecond[i], t.Unanswered[i] = new(float64), new(float64)
		if p.Requests == nil {
			continue
		}
		*t.PerSecond[i], *t.Unanswered[i] = p.Requests.PerSecond, p.UnansweredPerSecond
		d := p.Divided()
		t.Client[i], t.Server[i], t.Other[i], t.Rest[i] = d.Client, d.Server, d.Other, d.Rest
		for _, s := range d.Stages {
			t.add(i, s)
		}
	}
	return t
}

// add gives a stage its part of a point.
func (t *RequestTrend) add(point int, s StageTime) {
	at := slices.IndexFunc(t.Stages, func(known RequestStage) bool { return known.Place == s.Place })
	if at < 0 {
		at = len(t.Stages)
		t.Stages = append(t.Stages, RequestStage{s.Place, make([]*float64, len(t.Client))})
	}
	values := t.Stages[at].Seconds
	if values[point] == nil {
		values[point] = new(float64)
	}
	*values[point] += s.Seconds
}

// Here is what is spent on this node, in all stages and between them together; null where that is not known.
func (t *RequestTrend) Here() []*float64 {
	sums := make([]*float64, len(t.Client))
	for point, other := range t.Other {
		if other == nil {
			continue
		}
		sums[point] = new(*other)
		for i := range t.Stages {
			if seconds := t.Stages[i].Seconds[point]; seconds != nil {
				*sums[point] += *seconds
			}
		}
	}
	return sums
}

// DividedRequest is where the time of a request goes, in seconds: all others add up to Client, where that is known. nil is what is not known.
type DividedRequest struct {
	Client, Server *float64
	Stages         []StageTime // on this node
	Other          *float64    // on this node, in none of Stages
	Rest           *float64    // elsewhere
}

// Divided divides the p50 of a request. p50s of several places need not add up, least of all while a delay changes: then the server has no
// more than the whole, this node what that leaves at most, and its stages have that in proportion. No stage has more than its p50.
func (p *RequestPoint) Divided() (d DividedRequest) {
	r := p.Requests
	if r == nil || r.Client == nil && r.Server == nil {
		return d
	}
	here := r.Here
	if r.Server != nil {
		d.Server = new(r.Server.P50)
	}
	if r.Client != nil {
		d.Client = new(r.Client.P50)
		left := r.Client.P50
		if d.Server != nil {
			*d.Server = min(*d.Server, left)
			left -= *d.Server
		}
		here = min(here, left)
		d.Rest = new(left - here)
	}
	var sum float64
	for _, s := range p.Stages {
		sum += s.Seconds
	}
	d.Other = new(max(0, here-sum))
	for _, s := range p.Stages {
		if sum > here {
			s.Seconds *= here / sum
		}
		d.Stages = append(d.Stages, s)
	}
	return d
}
