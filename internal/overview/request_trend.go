package overview

import (
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// RequestTrend is what became of a pair's requests over the last minutes, oldest first. The server's time, the stages' and the rest add up
// to the client's. Times are null where nothing was answered, or nobody at that end is here; numbers are where nothing is known of that time.
type RequestTrend struct {
	EverySeconds float64    `json:"every_seconds"`
	PerSecond    []*float64 `json:"per_second"`            // answered
	Unanswered   []*float64 `json:"unanswered_per_second"` // given up, or waiting for longer than a minute
	Client       []*float64 `json:"client_p50_seconds"`    // the whole remote call
	Server       []*float64 `json:"server_p50_seconds"`
	Stages       []Trend    `json:"stages"`       // what packets of both ways spend in each on this node
	Rest         []*float64 `json:"rest_seconds"` // the network's, and the server's where that is not here
}

// RequestPoint is what became of a pair's requests in one window.
type RequestPoint struct {
	Requests            *Requests // nil if there were none
	UnansweredPerSecond float64
	Stages              []StageTime // in which packets of either way spend Requests.Here, in proportion
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
		Client: values(), Server: values(), Stages: []Trend{}, Rest: values(),
	}
	for i, p := range points {
		if p == nil {
			continue
		}
		r := p.Requests
		if r == nil {
			t.PerSecond[i], t.Unanswered[i] = new(float64), new(float64)
			continue
		}
		t.PerSecond[i], t.Unanswered[i] = new(r.PerSecond), new(p.UnansweredPerSecond)
		if r.Client != nil {
			t.Client[i] = new(r.Client.P50)
		}
		if r.Server != nil {
			t.Server[i] = new(r.Server.P50)
			if r.Client != nil {
				t.Server[i] = new(min(r.Server.P50, r.Client.P50)) // the medians of two sides need not agree
			}
		}
		divided := t.divide(i, p)
		if rest, ok := r.Rest(); ok {
			if !divided {
				rest += r.Here
			}
			t.Rest[i] = &rest
		}
	}
	return t
}

// Here is what is spent on this node, in all stages together; null where that is not known.
func (t *RequestTrend) Here() []*float64 {
	sums := make([]*float64, len(t.Client))
	for i := range t.Stages {
		for point, seconds := range t.Stages[i].P50 {
			if seconds == nil {
				continue
			}
			if sums[point] == nil {
				sums[point] = new(float64)
			}
			*sums[point] += *seconds
		}
	}
	return sums
}

// divide gives stages their parts of a point's time on this node. false if there are none.
func (t *RequestTrend) divide(point int, p *RequestPoint) bool {
	var sum float64
	for _, s := range p.Stages {
		sum += s.Seconds
	}
	if sum <= 0 || p.Requests.Client == nil && p.Requests.Server == nil {
		return false
	}
	for _, s := range p.Stages {
		at := slices.IndexFunc(t.Stages, func(known Trend) bool { return known.Place == s.Place })
		if at < 0 {
			at = len(t.Stages)
			t.Stages = append(t.Stages, Trend{s.Place, t.EverySeconds, make([]*float64, len(t.Client))})
		}
		values := t.Stages[at].P50
		if values[point] == nil {
			values[point] = new(float64)
		}
		*values[point] += s.Seconds * p.Requests.Here / sum
	}
	return true
}
