package overview

import (
	"math"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// TestRequestPoints: what requests spend on this node is divided among the stages of both ways, without those that few packets meet and
// those at the pods' devices and behind them, which are the server's.
func TestRequestPoints(t *testing.T) {
	t.Parallel()
	there := pair(webToAPI, "", 100, stage(key(journey.Deliver, netdev.PodLabel, journey.Out), 100, 0.05),
		stage(key(journey.Forward, "tunl0", journey.Out), 100, 0.001), stage(key(journey.Queue, "tunl0", journey.Out), 100, 0.1),
		stage(key(journey.Encap, "vxlan", journey.Out), 4, 5), stage(key(journey.PodQueue, "pod:eth0", journey.Out), 100, 0.05))
	back := pair(webToAPI.Reverse(), "", 100,
		stage(key(journey.Forward, "tunl0", journey.In), 100, 0.002), stage(key(journey.Queue, netdev.PodLabel, journey.In), 100, 0.2))
	other := pair(pairKey("a", "b", "c", "d", journey.Out), "", 100)
	there.Requests = &aggregate.Requests{}
	there.Requests.Client.Answered.Observe(0.3, 50)
	there.Requests.Client.Unanswered = 20
	there.Requests.Server.Answered.Observe(0.1, 50)
	window := &aggregate.Snapshot{Window: 10 * time.Second, Pairs: []aggregate.Pair{there, back, other}}
	points := RequestPoints(window)
	p := points[webToAPI]
	if len(points) != 1 || p.Requests == nil || p.UnansweredPerSecond != 2 || len(p.Stages) != 3 {
		t.Fatalf("%+v", points)
	}
	trend := NewRequestTrend(10, []*RequestPoint{{}, &p, {}, nil})
	if len(trend.Client) != 3 || len(trend.Stages) != 2 || *trend.PerSecond[0] != 5 || *trend.Unanswered[0] != 2 || *trend.PerSecond[1] != 0 {
		t.Fatalf("%+v", trend)
	}
	if trend.Client[1] != nil || trend.Server[1] != nil || trend.Rest[1] != nil || trend.Stages[0].Seconds[1] != nil {
		t.Error("nothing was asked in the second")
	}
	if trend.PerSecond[2] != nil || trend.Unanswered[2] != nil {
		t.Error("of the last one nothing is known")
	}
	sum := *trend.Server[0] + *trend.Other[0] + *trend.Rest[0]
	for _, s := range trend.Stages {
		sum += *s.Seconds[0]
		if s.Stage == journey.Queue && math.Abs(*s.Seconds[0]-0.1) > 0.01 {
			t.Errorf("%s has %v s", s.String(), *s.Seconds[0])
		}
	}
	if math.Abs(sum-*trend.Client[0]) > 1e-9 {
		t.Errorf("%v in all, of %v", sum, *trend.Client[0])
	}
	if here := trend.Here(); math.Abs(*here[0]-p.Requests.Here) > 1e-9 || here[1] != nil {
		t.Errorf("%v on this node", here)
	}
	if RequestPoints(&aggregate.Snapshot{Pairs: []aggregate.Pair{other}}) != nil || NewRequestTrend(5, []*RequestPoint{{}, nil}) != nil {
		t.Error("of nothing there is no history")
	}
}

// TestRequestsOfOneSide: where the client is elsewhere the server's time is known and the rest is not; where no stage was met by most
// this node's time is in none; and where none was answered there are no times.
func TestRequestsOfOneSide(t *testing.T) {
	t.Parallel()
	stages := []StageTime{{Place{journey.Forward, "pod"}, 0.002}}
	trend := NewRequestTrend(5, []*RequestPoint{
		{Requests: &Requests{PerSecond: 3, Server: &Delay{P50: 0.1}, Here: 0.004}, Stages: stages},
		{Requests: &Requests{PerSecond: 3, Client: &Delay{P50: 0.5}, Server: &Delay{P50: 0.1}, Here: 0.004}},
		{Requests: &Requests{Here: 0.004}, UnansweredPerSecond: 7, Stages: stages},
		{Requests: &Requests{Client: &Delay{P50: 0.1}, Server: &Delay{P50: 0.11}}},
	})
	if *trend.Server[3] != 0.1 || *trend.Rest[3] != 0 {
		t.Errorf("a server that takes longer than the whole: %+v", trend)
	}
	if trend.Client[0] != nil || trend.Rest[0] != nil || *trend.Server[0] != 0.1 || *trend.Stages[0].Seconds[0] != 0.002 || *trend.Other[0] != 0.002 {
		t.Errorf("the server's side: %+v", trend)
	}
	if math.Abs(*trend.Rest[1]-0.396) > 1e-9 || *trend.Other[1] != 0.004 || trend.Stages[0].Seconds[1] != nil {
		t.Errorf("no stage: the rest is %v, the other %v", *trend.Rest[1], *trend.Other[1])
	}
	if trend.Client[2] != nil || trend.Server[2] != nil || trend.Rest[2] != nil || trend.Stages[0].Seconds[2] != nil || *trend.Unanswered[2] != 7 {
		t.Errorf("none was answered: %+v", trend)
	}
}

// TestThreeUplinks: where packets leave by one of three queues, none of which most of them meet, their time is this node's still, and the
// stage that all meet has no more than its own.
func TestThreeUplinks(t *testing.T) {
	t.Parallel()
	p := pair(webToAPI, "", 99, stage(key(journey.Forward, "eth0", journey.Out), 99, 10e-6), stage(key(journey.Queue, "eth0", journey.Out), 33, 0.098),
		stage(key(journey.Queue, "eth1", journey.Out), 33, 0.098), stage(key(journey.Queue, "eth2", journey.Out), 33, 0.098))
	p.Path = delays(99, 0.098)
	p.Requests = &aggregate.Requests{}
	p.Requests.Client.Answered.Observe(0.15, 50)
	point := RequestPoints(&aggregate.Snapshot{Window: 5 * time.Second, Pairs: []aggregate.Pair{p}})[webToAPI]
	d := point.Divided()
	if len(d.Stages) != 1 || d.Stages[0].Seconds > 20e-6 || *d.Other < 0.09 || *d.Rest > 0.06 || math.Abs(d.Stages[0].Seconds+*d.Other+*d.Rest-*d.Client) > 1e-9 {
		t.Errorf("%+v: other %v, rest %v", d, *d.Other, *d.Rest)
	}
	if trend := NewRequestTrend(5, []*RequestPoint{&point}); *trend.Other[0] != *d.Other || math.Abs(*trend.Here()[0]-point.Requests.Here) > 1e-9 {
		t.Errorf("%+v", trend)
	}
	// What the stages take is more than the call leaves: they share it.
	point.Requests.Client.P50, point.Requests.Server = 0.03, &Delay{P50: 0.01}
	point.Stages = []StageTime{{Place{journey.Queue, "a"}, 0.03}, {Place{journey.Forward, "a"}, 0.01}}
	if d = point.Divided(); *d.Server != 0.01 || math.Abs(d.Stages[0].Seconds-0.015) > 1e-9 || math.Abs(d.Stages[1].Seconds-0.005) > 1e-9 || *d.Other != 0 || *d.Rest != 0 {
		t.Errorf("%+v: other %v, rest %v", d, *d.Other, *d.Rest)
	}
}
