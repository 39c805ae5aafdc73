package overview

import (
	"math"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// TestRequests shows what of a request was the server's, this node's, and the rest.
func TestRequests(t *testing.T) {
	t.Parallel()
	near := func(got, want float64) bool { return math.Abs(got-want) < 0.05*want }
	asked := aggregate.Pair{PairKey: pairKey("shop", "web", "shop", "api", journey.Local), Packets: 10, Requests: &aggregate.Requests{}}
	asked.Path.ObserveDuration(time.Millisecond, 10)
	asked.Requests.Client.Answered.ObserveDuration(20*time.Millisecond, 50)
	asked.Requests.Client.Connects.ObserveDuration(time.Millisecond, 2)
	asked.Requests.Client.Unanswered = 3
	asked.Requests.Server.Answered.ObserveDuration(12*time.Millisecond, 40)
	back := aggregate.Pair{PairKey: pairKey("shop", "api", "shop", "web", journey.Local), Packets: 10}
	back.Path.ObserveDuration(2*time.Millisecond, 10)
	window := &aggregate.Snapshot{Window: 10 * time.Second, Pairs: []aggregate.Pair{asked, back}}
	rows := Build(Input{Window: window}, query(t, ByPair, "", "")).Rows
	var r *Requests
	for i := range rows {
		if rows[i].Src.Workload == "web" {
			r = rows[i].Requests
		} else if rows[i].Requests != nil {
			t.Errorf("who is asked has asked %+v", rows[i].Requests)
		}
	}
	if r == nil || r.PerSecond != 5 || r.Unanswered != 3 || !near(r.Client.P50, 0.02) || !near(r.Server.P50, 0.012) || !near(r.Connect.P50, 0.001) || !near(r.Here, 0.003) {
		t.Fatalf("%+v", r)
	}
	if rest, ok := r.Rest(); !ok || rest < 0.004 || rest > 0.006 {
		t.Errorf("the rest is %v, want 5 ms", rest)
	}
	asked.Requests.Client = aggregate.RequestSide{}
	if r = (&builder{Input: Input{Window: window}, seconds: 10}).requests(&asked); r.PerSecond != 4 || r.Client != nil {
		t.Errorf("of the server alone: %+v", r)
	}
	if _, ok := r.Rest(); ok {
		t.Error("without a client nobody knows what the rest is")
	}
}
