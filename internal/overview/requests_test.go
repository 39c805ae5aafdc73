package overview

import (
	"math"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
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
	// 300 ms in a queue at the server's device are the server's, and are not on the node once more.
	toPod, inPod := key(journey.Queue, netdev.PodLabel, journey.Local), key(journey.PodQueue, netdev.PodLabel+":eth0", journey.Local)
	queued := pair(asked.PairKey, "", 100, stage(key(journey.Forward, netdev.PodLabel, journey.Local), 100, 0.001), stage(toPod, 100, 0.3))
	queued.Requests = &aggregate.Requests{}
	queued.Requests.Client.Answered.Observe(0.312, 50)
	queued.Requests.Server.Answered.Observe(0.305, 50)
	slowly := pair(back.PairKey, "", 100, stage(inPod, 100, 0.2), stage(key(journey.Forward, netdev.PodLabel, journey.Local), 100, 0.001))
	of := func(pairs ...aggregate.Pair) *Requests {
		return (&builder{Input: Input{Window: &aggregate.Snapshot{Pairs: pairs}}, seconds: 10}).requests(&pairs[0])
	}
	if r = of(queued, slowly); r.Here < 0.001 || r.Here > 0.02 {
		t.Errorf("%v s are on this node, want 2 ms or so", r.Here)
	}
	if rest, _ := r.Rest(); !near(r.Server.P50+r.Here+rest, r.Client.P50) {
		t.Errorf("%v at the server, %v here and %v elsewhere, of %v in all", r.Server.P50, r.Here, rest, r.Client.P50)
	}
	queued.Stages = queued.Stages[:1] // as if the node itself took all of it
	if r = of(queued); !near(r.Here+r.Server.P50, r.Client.P50) {
		t.Errorf("%v at the server and %v here, of %v in all", r.Server.P50, r.Here, r.Client.P50)
	}
	asked.Requests.Client = aggregate.RequestSide{}
	if r = (&builder{Input: Input{Window: window}, seconds: 10}).requests(&asked); r.PerSecond != 4 || r.Client != nil {
		t.Errorf("of the server alone: %+v", r)
	}
	if _, ok := r.Rest(); ok {
		t.Error("without a client nobody knows what the rest is")
	}
}
