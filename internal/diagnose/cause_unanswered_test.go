package diagnose

import (
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// unanswering is a pair of whose requests so many were answered in 2 ms, and others not, as the device of the pod shows that was asked, or, if the
// pair's packets leave the node, of the one that asks.
func unanswering(direction journey.Direction, answered uint64, lost aggregate.RequestSide) aggregate.Pair {
	p := answering("default/web", "default/api", direction, answered, answered, 0.002)
	lost.Answered, lost.Timed = p.Requests.Client.Answered, answered
	if lost.EndedRecords == 0 {
		lost.EndedRecords, lost.WaitingRecords = lost.GivenUp+lost.Closed, lost.Waiting
	}
	lost.Unanswered = lost.GivenUp + lost.Closed + lost.Waiting
	if direction == journey.Out {
		p.Requests.Client, p.Requests.Server = lost, aggregate.RequestSide{}
	} else {
		p.Requests.Server, p.Requests.Client = lost, aggregate.RequestSide{}
	}
	return p
}

// TestUnansweredRequests tells of five requests and 5 %, as a warning where somebody has ended them.
func TestUnansweredRequests(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		direction journey.Direction
		answered  uint64
		lost      aggregate.RequestSide
		severity  Severity // "" if nothing is found
		predicate string
	}{
		"given up":          {journey.In, 95, aggregate.RequestSide{GivenUp: 5}, Warning, "does not answer 5 of 100 requests of default/web"},
		"closed":            {journey.In, 10, aggregate.RequestSide{Closed: 90}, Warning, "does not answer 90 of 100 requests of default/web"},
		"all":               {journey.In, 0, aggregate.RequestSide{GivenUp: 40}, Info, "does not answer 40 of 40 requests of default/web"},
		"they wait":         {journey.In, 10, aggregate.RequestSide{Waiting: 40}, Info, "does not answer 40 of 50 requests of default/web"},
		"few":               {journey.In, 10, aggregate.RequestSide{GivenUp: 4}, "", ""},
		"of one record":     {journey.In, 100, aggregate.RequestSide{GivenUp: 64, EndedRecords: 1}, "", ""},
		"of five records":   {journey.In, 100, aggregate.RequestSide{GivenUp: 320, EndedRecords: 5}, Warning, "does not answer 320 of 420 requests of default/web"},
		"of few that ended": {journey.In, 10, aggregate.RequestSide{GivenUp: 64, EndedRecords: 1, Waiting: 256, WaitingRecords: 4}, Info, "does not answer 320 of 330 requests of default/web"},
		"a few of many":     {journey.In, 996, aggregate.RequestSide{GivenUp: 40}, "", ""},
		"within the node":   {journey.Local, 50, aggregate.RequestSide{GivenUp: 50}, Warning, "does not answer 50 of 100 requests of default/web"},
		"multiplexed":       {journey.In, 50, aggregate.RequestSide{GivenUp: 50, LeftOut: 3}, "", ""},
		"not all had one":   {journey.In, 500, aggregate.RequestSide{GivenUp: 50, LeftOut: 1}, Warning, "does not answer 50 of 550 requests of default/web"},
		"all hang":          {journey.In, 0, aggregate.RequestSide{GivenUp: 100, LeftOut: 1}, Info, "does not answer 100 of 100 requests of default/web"},
		"most hang":         {journey.In, 20, aggregate.RequestSide{GivenUp: 100, LeftOut: 1}, Warning, "does not answer 100 of 120 requests of default/web"},
		"of another node's": {journey.Out, 50, aggregate.RequestSide{GivenUp: 50}, Warning, "50 of 100 requests of default/web → default/api not answered after they left this node"},
	} {
		found := unansweredRules(windowOf(unanswering(test.direction, test.answered, test.lost)))
		if len(found) == 0 && test.severity == "" {
			continue
		}
		if len(found) != 1 || found[0].Severity != test.severity || found[0].predicate != test.predicate {
			t.Errorf("%s: %+v, want %s that it %s", name, found, test.severity, test.predicate)
			continue
		}
		f := &found[0]
		if beyond := test.direction == journey.Out; f.beyond != beyond || (f.Stage == "") != beyond || (f.Device == "") != beyond {
			t.Errorf("%s: it is at %q %q", name, f.Stage, f.Device)
		}
		if never := test.answered == 0; never != strings.Contains(f.Evidence[0], "has not answered any since") {
			t.Errorf("%s: %q", name, f.Evidence[0])
		}
	}
}

// TestAnsweredBefore has who has answered before the window be one who is meant to.
func TestAnsweredBefore(t *testing.T) {
	t.Parallel()
	before := unanswering(journey.In, 100, aggregate.RequestSide{})
	now := unanswering(journey.In, 100, aggregate.RequestSide{GivenUp: 40})
	at := func(p aggregate.Pair, taken time.Time) Snapshot {
		return Snapshot{Taken: taken, Counts: &aggregate.Snapshot{Pairs: []aggregate.Pair{p}}}
	}
	found := unansweredRules(newWindow("node1", at(before, noon), at(now, noon.Add(15*time.Second))))
	if len(found) != 1 || found[0].Severity != Warning || strings.Contains(found[0].Evidence[0], "since it was watched") {
		t.Errorf("%+v", found)
	}
}

// TestUnansweredExplained says nothing of a pair of which something else is found that can leave half of its requests without an answer, whichever way that goes.
func TestUnansweredExplained(t *testing.T) {
	t.Parallel()
	there, back, others := Pair{Src: "default/web", Dst: "default/api"}, Pair{Src: "default/api", Dst: "default/web"}, Pair{Src: "default/web", Dst: "default/db"}
	for name, test := range map[string]struct {
		found Finding
		want  int
	}{
		"a queue":               {Finding{Kind: KindDelay, Severity: Critical, Pairs: []Pair{there}, PairsTotal: 1}, 0},
		"on the way back":       {Finding{Kind: KindRetransmit, Severity: Warning, Pairs: []Pair{others, back}, PairsTotal: 2}, 0},
		"maybe":                 {Finding{Kind: KindDrop, Severity: Critical, Pairs: []Pair{others}, PairsTotal: 12}, 0},
		"another pair's":        {Finding{Kind: KindDrop, Severity: Critical, Pairs: []Pair{others}, PairsTotal: 1}, 1},
		"a short queue":         {Finding{Kind: KindDelay, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 1, Delay: &Delay{P99: new(0.002)}}, 1},
		"a short queue of many": {Finding{Kind: KindDelay, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 12, Delay: &Delay{P99: new(0.002)}}, 1},
		"seconds":               {Finding{Kind: KindDelay, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 1, Delay: &Delay{P99: new(1.5)}}, 0},
		"what waits yet":        {Finding{Kind: KindDelay, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 1, Delay: &Delay{P99: new(0.002), Oldest: new(9.0)}}, 0},
		"nothing comes out":     {Finding{Kind: KindDelay, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 1, Delay: &Delay{}}, 0},
		"little loss":           {Finding{Kind: KindDrop, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 1, Drops: &Drops{Ratio: new(0.02)}}, 1},
		"little loss elsewhere": {Finding{Kind: KindRetransmit, Severity: Warning, Pairs: []Pair{back}, PairsTotal: 1, Drops: &Drops{Ratio: new(0.02)}}, 1},
		"as much loss":          {Finding{Kind: KindDrop, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 1, Drops: &Drops{Ratio: new(0.2)}}, 0},
		"a fault's loss":        {Finding{Kind: KindDrop, Severity: Critical, Pairs: []Pair{there}, PairsTotal: 1, Drops: &Drops{Ratio: new(0.02)}}, 0},
		"no loss":               {Finding{Kind: KindMisconfiguration, Severity: Warning, Pairs: []Pair{there}, PairsTotal: 1}, 1},
		"the other answers":     {Finding{Kind: KindDelay, Cause: ServerSlow, Severity: Info, Pairs: []Pair{there}, PairsTotal: 1}, 1},
		"one that hurts nobody": {Finding{Kind: KindDrop, Severity: Warning}, 1},
	} {
		w := windowOf(unanswering(journey.In, 50, aggregate.RequestSide{GivenUp: 50}))
		w.found = []Finding{test.found}
		if found := unansweredRules(w); len(found) != test.want {
			t.Errorf("%s: %+v, want %d", name, found, test.want)
		}
	}
}

// TestUnansweredStrangers says nothing of who comes from outside of the cluster, or is there: who scans is closed the door, and who is far
// may be anybody.
func TestUnansweredStrangers(t *testing.T) {
	t.Parallel()
	scanned := unanswering(journey.In, 50, aggregate.RequestSide{Closed: 50})
	scanned.SrcNamespace, scanned.SrcWorkload = "", aggregate.ExternalWorkload
	far := unanswering(journey.Out, 50, aggregate.RequestSide{GivenUp: 50})
	far.DstNamespace, far.DstWorkload = "", aggregate.ExternalWorkload
	probed := unanswering(journey.In, 50, aggregate.RequestSide{GivenUp: 50})
	probed.SrcNamespace, probed.SrcWorkload = "", aggregate.NodeWorkload
	found := unansweredRules(windowOf(scanned, far, probed))
	if len(found) != 1 || len(found[0].Pairs) != 1 || found[0].Pairs[0].Src != aggregate.NodeWorkload {
		t.Errorf("%+v, want kubelet's probes alone", found)
	}
}
