package agent

import (
	"math"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// asked is a window in which a pair's requests were answered, with 0.1 s each way in a queue here; none where seconds is 0.
func asked(pair aggregate.PairKey, seconds float64) *aggregate.Snapshot {
	w := passed(pair, 0.1)
	w.Pairs[0].Packets = 3
	w.Pairs[0].Path.Observe(0.1, 3)
	back := passed(pair.Reverse(), 0.1).Pairs[0]
	back.Packets = 3
	back.Path.Observe(0.1, 3)
	w.Pairs = append(w.Pairs, back)
	w.Window = snapshotEvery
	r := &aggregate.Requests{}
	if seconds > 0 {
		r.Client.Answered.Observe(seconds, 50)
		r.Server.Answered.Observe(seconds/10, 50)
	}
	r.Client.Unanswered = 5
	w.Pairs[0].Requests = r
	return w
}

// TestRequestTrends: what became of requests is kept for as long as the delays of stages, and adds up in each point.
func TestRequestTrends(t *testing.T) {
	t.Parallel()
	web := aggregate.PairKey{SrcWorkload: "web", DstWorkload: "api", Direction: journey.Out}
	other := aggregate.PairKey{SrcWorkload: "other", DstWorkload: "api", Direction: journey.Out}
	var all delayTrends
	if got := all.requestsOf(web); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
	all.add(passed(other, 1))
	all.add(asked(web, 1))
	all.add(passed(web, 1)) // packets, and no request
	all.add(asked(web, 2))
	all.add(asked(web, 0))
	got := all.requestsOf(web)
	if got == nil || len(got.Client) != 4 || len(got.Stages) != 1 || got.EverySeconds != 5 {
		t.Fatalf("%+v", got)
	}
	near := func(p *float64, want float64) bool { return p != nil && *p > want*0.93 && *p < want*1.07 }
	if !near(got.Client[0], 1) || got.Client[1] != nil || !near(got.Client[2], 2) || got.Client[3] != nil {
		t.Errorf("client %v", got.Client)
	}
	for _, i := range []int{0, 2} {
		here := got.Stages[0].Seconds[i]
		if !near(here, 0.2) || math.Abs(*got.Server[i]+*here+*got.Other[i]+*got.Rest[i]-*got.Client[i]) > 1e-6 || *got.PerSecond[i] != 10 {
			t.Errorf("point %d: server %v, here %v, rest %v of %v", i, *got.Server[i], *here, *got.Rest[i], *got.Client[i])
		}
	}
	if *got.Unanswered[3] != 1 || got.Rest[3] != nil || got.Stages[0].Seconds[3] != nil || *got.Unanswered[1] != 0 {
		t.Errorf("unanswered %v", got.Unanswered)
	}
	if all.requestsOf(other) != nil || all.requestsOf(web.Reverse()) != nil {
		t.Error("who asks nothing has no requests")
	}
	for range trendPoints - 4 { // the rings go round
		all.add(asked(other, 3))
	}
	if got = all.requestsOf(web); len(got.Client) != trendPoints || !near(got.Client[0], 1) || !near(got.Client[2], 2) || got.Client[4] != nil {
		t.Errorf("after a round: %v", got.Client)
	}
	for range 4 {
		all.add(asked(other, 3))
	}
	if got = all.requestsOf(web); got != nil || len(all.requests) != 1 {
		t.Errorf("%+v; %d rings are kept, of which one is silent for as long as any goes back", got, len(all.requests))
	}
}

// TestFewMetIt: a stage that few packets met is no part of a request's time, and that is told of each point.
func TestFewMetIt(t *testing.T) {
	t.Parallel()
	web := aggregate.PairKey{SrcWorkload: "web", DstWorkload: "api", Direction: journey.Out}
	rare := asked(web, 2)
	rare.Pairs[0].Path.Observe(0.001, 100)
	var all delayTrends
	all.add(asked(web, 2))
	for range trendPoints {
		all.add(rare)
	}
	all.add(asked(web, 2))
	got := all.requestsOf(web)
	last := len(got.Client) - 1
	if p := got.Stages[0].Seconds; *p[last] < 0.18 || *p[last-1] > 0.12 {
		t.Errorf("%v s where most packets waited, %v s where few did", *p[last], *p[last-1])
	}
}
