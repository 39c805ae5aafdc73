package diagnose

import (
	"strings"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// answering is a pair of which as many requests are answered, each seen at both ends' devices if its client has any.
func answering(src, dst string, direction journey.Direction, client, server uint64, seconds float64) aggregate.Pair {
	r := &aggregate.Requests{}
	r.Client.Answered.Observe(seconds, client)
	r.Server.Answered.Observe(seconds, server)
	r.Client.Timed, r.Server.Timed = client, server
	return aggregate.Pair{PairKey: key(src, dst, direction), Packets: 100, Requests: r}
}

// in adds a stage in which a pair's packets are so long.
func in(p aggregate.Pair, stage journey.Stage, device string, seconds float64) aggregate.Pair {
	var h hist.Histogram
	h.Observe(seconds, 100)
	p.Stages = append(p.Stages, aggregate.StageDelay{StageKey: aggregate.StageKey{Stage: stage, Device: device, Direction: p.Direction}, Delay: h})
	return p
}

// TestServerWaits: web takes half a second to answer front as it waits for api as long, which is beyond a slow network.
func TestServerWaits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		asks []aggregate.Pair
		want string
	}{
		"nobody":            {nil, "which it spends itself, or waiting for others"},
		"api":               {[]aggregate.Pair{answering("default/web", "default/api", journey.Out, 60, 0, 0.5)}, "(p50) for default/api"},
		"api, half of it":   {[]aggregate.Pair{answering("default/web", "default/api", journey.Out, 60, 0, 0.3)}, "(p50) for default/api"},
		"a fast cache":      {[]aggregate.Pair{answering("default/web", "default/cache", journey.Out, 60, 0, 0.002)}, "or waiting for others"},
		"a long poll":       {[]aggregate.Pair{answering("default/web", "default/queue", journey.Out, 60, 0, 30)}, "or waiting for others"},
		"few":               {[]aggregate.Pair{answering("default/web", "default/api", journey.Out, 2, 0, 0.5)}, "or waiting for others"},
		"the slower of two": {[]aggregate.Pair{answering("default/web", "default/auth", journey.Out, 60, 0, 0.3), answering("default/web", "default/api", journey.Out, 60, 0, 0.5)}, "(p50) for default/api"},
		"they ask another":  {[]aggregate.Pair{answering("default/web", "default/front", journey.Out, 60, 0, 0.5)}, "or waiting for others"},
		"another one asks":  {[]aggregate.Pair{answering("default/cron", "default/api", journey.Out, 60, 0, 0.5)}, "or waiting for others"},
	} {
		found := requestRules(windowOf(append(test.asks, answering("default/front", "default/web", journey.In, 0, 60, 0.5))...))
		if len(found) != 1 {
			t.Fatalf("%s: %+v", name, found)
		}
		f := &found[0]
		if !strings.Contains(f.predicate, test.want) || strings.Contains(f.predicate+f.Evidence[0], "own time") {
			t.Errorf("%s: it %s", name, f.predicate)
		}
		if waits := strings.Contains(test.want, "for default/"); waits != strings.Contains(f.Evidence[0], test.want) {
			t.Errorf("%s: %q", name, f.Evidence[0])
		}
	}
}

// TestHeldAtPod takes off what packets wait between the pod's device, where its hooks are, and the pod's sockets.
func TestHeldAtPod(t *testing.T) {
	t.Parallel()
	asked := func(direction journey.Direction) aggregate.Pair {
		return answering("default/front", "default/web", direction, 0, 60, 0.5)
	}
	back := func(direction journey.Direction) aggregate.Pair {
		return sentPair("default/web", "default/front", direction, 100)
	}
	for name, test := range map[string]struct {
		pairs []aggregate.Pair
		p50   float64 // 0: nothing is said
	}{
		"nothing":              {[]aggregate.Pair{asked(journey.In), back(journey.Out)}, 0.5},
		"its queue":            {[]aggregate.Pair{in(asked(journey.In), journey.Queue, "pod", 0.49)}, 0},
		"its queue, in part":   {[]aggregate.Pair{in(asked(journey.In), journey.Queue, "pod", 0.2)}, 0.3},
		"within the node":      {[]aggregate.Pair{in(asked(journey.Local), journey.Queue, "pod", 0.49)}, 0},
		"on the way in":        {[]aggregate.Pair{in(asked(journey.In), journey.Deliver, "pod", 0.45)}, 0},
		"its end's queue":      {[]aggregate.Pair{asked(journey.In), in(back(journey.Out), journey.PodQueue, "pod:eth0", 0.45)}, 0},
		"both queues":          {[]aggregate.Pair{in(asked(journey.In), journey.Queue, "pod", 0.25), in(back(journey.Out), journey.PodQueue, "pod:eth0", 0.2)}, 0},
		"its end, within":      {[]aggregate.Pair{asked(journey.Local), in(back(journey.Local), journey.PodQueue, "pod:eth0", 0.45)}, 0},
		"the overlay's":        {[]aggregate.Pair{in(asked(journey.In), journey.Decap, "tunl0", 0.45), in(back(journey.Out), journey.Queue, "tunl0", 0.45)}, 0.5},
		"another pod's answer": {[]aggregate.Pair{asked(journey.In), in(sentPair("default/api", "default/front", journey.Out, 100), journey.PodQueue, "pod:eth0", 0.45)}, 0.5},
	} {
		found := requestRules(windowOf(test.pairs...))
		switch {
		case test.p50 == 0 && len(found) > 0:
			t.Errorf("%s: %s %s", name, found[0].subject, found[0].predicate)
		case test.p50 > 0 && (len(found) != 1 || !within(*found[0].Delay.P50, test.p50, 0.1)):
			t.Errorf("%s: %+v, want %v s", name, found, test.p50)
		case test.p50 > 0 && (test.p50 < 0.5) != strings.Contains(found[0].Evidence[0], "between that device and the pod's sockets"):
			t.Errorf("%s: %q", name, found[0].Evidence)
		}
	}

	// Nothing has come out of the queue yet.
	w := windowOf(asked(journey.In))
	w.counts.InFlight = []aggregate.InFlight{{
		StageKey: aggregate.StageKey{Stage: journey.Queue, Device: "pod", Direction: journey.In},
		Pairs:    []aggregate.InFlightPair{{PairKey: key("default/front", "default/web", journey.In), Packets: 30, Oldest: 0.45}},
	}}
	if found := requestRules(w); len(found) > 0 {
		t.Errorf("they wait: %s %s", found[0].subject, found[0].predicate)
	}
}

// TestServerSlowSamples takes 20 measurements, most of them without a retransmission and of connections that alternate.
func TestServerSlowSamples(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		requests, timed, repeated, leftOut uint64
		found                              bool
	}{
		"20":                    {20, 20, 0, 0, true},
		"19":                    {19, 19, 0, 0, false},
		"one for 65,536":        {65536, 1, 0, 0, false},
		"20 for 320":            {320, 20, 0, 0, true},
		"half of it sent again": {60, 60, 30, 0, false},
		"some of it sent again": {60, 60, 10, 0, true},
		"left out since":        {177, 177, 0, 30, false},
		"one of many left out":  {500, 500, 0, 1, true},
	} {
		p := answering("default/front", "default/web", journey.In, 0, test.requests, 0.5)
		p.Requests.Server.Timed, p.Requests.Server.Repeated, p.Requests.Server.LeftOut = test.timed, test.repeated, test.leftOut
		found := requestRules(windowOf(p))
		if (len(found) > 0) != test.found {
			t.Errorf("%s: %+v", name, found)
		}
		if test.timed < test.requests && test.found && !strings.Contains(found[0].Evidence[0], "about 320 requests, from 20 timed") {
			t.Errorf("%s: %q", name, found[0].Evidence)
		}
	}
}

// TestServerSlowPairs names the pairs as their packets are known, each with its figures.
func TestServerSlowPairs(t *testing.T) {
	t.Parallel()
	known := answering("default/front", "default/web", journey.Local, 0, 60, 0.5)
	known.Service = "default/web"
	later := answering("default/cron", "default/web", journey.In, 0, 60, 0.3)
	later.Packets = 0 // of which requests alone are known
	found := requestRules(windowOf(later, known))
	if len(found) != 1 || len(found[0].Pairs) != 2 || len(found[0].Evidence) != 2 {
		t.Fatalf("%+v", found)
	}
	f := &found[0]
	if s := f.Pairs[0].Service; s == nil || *s != "default/web" || f.Direction != journey.Local || f.Pairs[1].Src != "default/cron" {
		t.Errorf("%s: %+v", f.Direction, f.Pairs)
	}
	for i, who := range []string{"default/front → default/web: ", "default/cron → default/web: "} {
		if !strings.HasPrefix(f.Evidence[i], who) {
			t.Errorf("%q, want %s", f.Evidence[i], who)
		}
	}
}
