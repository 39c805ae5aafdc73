package aggregate

import (
	"net/netip"
	"testing"
	"time"

	"tracer/internal/record"
)

// requested is a request at a pod's device, from the pod's end.
func requested(pod, other string, client bool, outcome record.Outcome, took time.Duration) record.Record {
	flow := record.Flow{Source: netip.MustParseAddrPort(pod), Destination: netip.MustParseAddrPort(other), Protocol: record.ProtocolTCP}
	r := record.Record{
		Kind: record.Requested, First: flow, Last: flow, Time: time.Minute, Len: 1, Weight: 4,
		Request: &record.Request{Client: client, Outcome: outcome, Took: took},
	}
	r.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: 1, Time: time.Minute - took}
	return r
}

// workloads names addresses.
type workloads map[string]Identity

func (w workloads) Lookup(a netip.Addr, _ time.Duration) Identity { return w[a.String()] }

func askedAggregator() *Aggregator {
	return New(Options{Namer: workloads{
		"10.0.0.1": {Namespace: "default", Workload: "web"}, "10.0.0.2": {Namespace: "default", Workload: "api"},
		"10.96.0.1": {Namespace: "default", Service: "api"},
	}})
}

// TestRequestsOfBothSides counts a request for who asked and who was asked, seen at either pod's device.
func TestRequestsOfBothSides(t *testing.T) {
	t.Parallel()
	a := askedAggregator()
	for _, r := range []record.Record{
		requested("10.0.0.1:40000", "10.0.0.2:80", true, record.Connected, time.Millisecond),
		requested("10.0.0.1:40000", "10.0.0.2:80", true, record.Answered, 20*time.Second),
		requested("10.0.0.1:40000", "10.0.0.2:80", true, record.GivenUp, time.Second),
		requested("10.0.0.2:80", "10.0.0.1:40000", false, record.Answered, 2*time.Millisecond),
	} {
		a.Add(&r)
	}
	s := a.Snapshot()
	var client, server RequestSide
	for _, p := range s.Pairs {
		if p.SrcWorkload != "web" || p.DstWorkload != "api" || p.Requests == nil {
			t.Errorf("%+v with %+v", p.PairKey, p.Requests)
			continue
		}
		client.merge(&p.Requests.Client)
		server.merge(&p.Requests.Server)
	}
	if n, p50 := client.Answered.Count(), client.Answered.Quantile(0.5); n != 4 || p50 < 19 || p50 > 21 {
		t.Errorf("the client's: %d of %v s, want 4 (the weight) of 20 s", n, p50)
	}
	if client.Timed != 1 || server.Timed != 1 {
		t.Errorf("%d and %d records were timed, want 1 at either end", client.Timed, server.Timed)
	}
	if client.Connects.Count() != 4 || client.Unanswered != 4 || server.Answered.Count() != 4 || server.Unanswered != 0 {
		t.Errorf("client %+v, server %+v", client, server)
	}
	if w := a.Snapshot().Since(s); len(w.Pairs) != 0 {
		t.Errorf("a window without requests has %+v", w.Pairs)
	}
}

// TestUnansweredRequests counts those of who has answered before, and SYNs in any case.
func TestUnansweredRequests(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		outcomes []record.Outcome
		want     uint64
	}{
		{"who never answers may not be meant to", []record.Outcome{record.TimedOut, record.Closed}, 0},
		{"... but somebody has waited", []record.Outcome{record.TimedOut, record.GivenUp, record.HalfClosed}, 8},
		{"who did", []record.Outcome{record.Answered, record.TimedOut, record.GivenUp, record.HalfClosed, record.Closed}, 16},
		{"a SYN", []record.Outcome{record.ConnectTimeout}, 4},
	} {
		a := askedAggregator()
		for _, outcome := range test.outcomes {
			r := requested("10.0.0.1:40000", "10.0.0.2:80", true, outcome, time.Minute)
			if outcome == record.Answered {
				r.Request.Took = time.Millisecond
			}
			a.Add(&r)
		}
		if got := a.Snapshot().Pairs[0].Requests.Client.Unanswered; got != test.want {
			t.Errorf("%s: %d unanswered, want %d", test.name, got, test.want)
		}
	}
}

// TestPatience tells requests that nothing explains but the end that was asked from long polls, from what was not waited for, and from what
// may have been lost.
func TestPatience(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	type lost struct{ givenUp, closed, waiting uint64 }
	for _, test := range []struct {
		name     string
		usual    time.Duration
		outcome  record.Outcome
		took     time.Duration
		repeated bool
		protocol record.Protocol
		want     lost
	}{
		{"given up after two seconds", 2 * ms, record.GivenUp, 2 * time.Second, false, record.ProtocolTCP, lost{givenUp: 4}},
		{"by a FIN alone", 2 * ms, record.HalfClosed, 5 * time.Second, false, record.ProtocolTCP, lost{givenUp: 4}},
		{"at once", 2 * ms, record.GivenUp, 900 * ms, false, record.ProtocolTCP, lost{}},
		{"a long poll", 20 * time.Second, record.GivenUp, 30 * time.Second, false, record.ProtocolTCP, lost{}},
		{"a long poll of minutes", 4 * time.Minute, record.TimedOut, time.Minute, false, record.ProtocolTCP, lost{}},
		{"waits for a minute", 2 * ms, record.TimedOut, time.Minute, false, record.ProtocolTCP, lost{waiting: 4}},
		{"closed by the server", 2 * ms, record.Closed, ms, false, record.ProtocolTCP, lost{closed: 4}},
		{"sent again", 2 * ms, record.GivenUp, 2 * time.Second, true, record.ProtocolTCP, lost{}},
		{"a datagram asked again", 2 * ms, record.TimedOut, time.Minute, true, 17, lost{waiting: 4}},
		{"a datagram every half minute", 2 * ms, record.GivenUp, 31 * time.Second, false, 17, lost{waiting: 4}},
	} {
		a := askedAggregator()
		for i := range 100 {
			r := requested("10.0.0.1:40000", "10.0.0.2:80", true, record.Answered, ms)
			if i < 5 {
				r.Request.Took = test.usual
			}
			a.Add(&r)
		}
		r := requested("10.0.0.1:40000", "10.0.0.2:80", true, test.outcome, test.took)
		r.Request.Repeated, r.First.Protocol, r.Last.Protocol = test.repeated, test.protocol, test.protocol
		a.Add(&r)
		before := a.Snapshot()
		side := before.Pairs[0].Requests.Client
		if got := (lost{side.GivenUp, side.Closed, side.Waiting}); got != test.want || side.Unanswered != 4 {
			t.Errorf("%s: %+v of %d unanswered, want %+v of 4", test.name, got, side.Unanswered, test.want)
		}
		if ended, waiting := (test.want.givenUp+test.want.closed)/4, test.want.waiting/4; side.EndedRecords != ended || side.WaitingRecords != waiting {
			t.Errorf("%s: by %d and %d records, want %d and %d", test.name, side.EndedRecords, side.WaitingRecords, ended, waiting)
		}
		a.Add(&r)
		side = a.Snapshot().Since(before).Pairs[0].Requests.Client
		if got := (lost{side.GivenUp, side.Closed, side.Waiting}); got != test.want {
			t.Errorf("%s: %+v in a window, want %+v", test.name, got, test.want)
		}
		if got, want := side.EndedRecords+side.WaitingRecords, (test.want.givenUp+test.want.closed+test.want.waiting)/4; got != want {
			t.Errorf("%s: by %d records in a window, want %d", test.name, got, want)
		}
	}
}

// TestPatienceForgets has a pair that was slow when the agent started, and is so no more, be judged as it is now; and one that has become
// slow likewise.
func TestPatienceForgets(t *testing.T) {
	t.Parallel()
	const slow, quick = 20 * time.Second, 2 * time.Millisecond
	for _, test := range []struct {
		before, now time.Duration
		want        uint64
	}{{slow, quick, 4}, {quick, slow, 0}, {quick, quick, 4}, {slow, slow, 0}} {
		a := askedAggregator()
		for i := range 4500 {
			r := requested("10.0.0.1:40000", "10.0.0.2:80", true, record.Answered, test.now)
			if i < 500 {
				r.Request.Took = test.before
			}
			a.Add(&r)
		}
		r := requested("10.0.0.1:40000", "10.0.0.2:80", true, record.GivenUp, 3*time.Second)
		a.Add(&r)
		if got := a.Snapshot().Pairs[0].Requests.Client.GivenUp; got != test.want {
			t.Errorf("after answers in %v, then in %v: %d given up, want %d", test.before, test.now, got, test.want)
		}
	}
}

// TestRequestsToService names the pair of a request to a Service's address by where the last packets to it went.
func TestRequestsToService(t *testing.T) {
	t.Parallel()
	a := manyPods()
	r := requested("10.0.0.1:40001", "10.96.0.1:80", true, record.Answered, time.Millisecond)
	a.Add(&r)
	if s := a.Snapshot(); len(s.Pairs) != 0 || s.Pathless != 1 {
		t.Errorf("a Service that nobody was sent to yet has %+v", s.Pairs)
	}
	sent := passed("10.0.0.1:40000", "10.96.0.1:80", "10.9.0.2:8080", record.ProtocolTCP, uplink, time.Minute)
	a.Add(&sent) // another port: the last one to whom that Service sent
	a.Add(&r)
	if s := a.Snapshot(); len(s.Pairs) != 1 || s.Pairs[0].Requests == nil || s.Pairs[0].Requests.Client.Answered.Count() != 4 {
		t.Errorf("%+v", s.Pairs)
	}
}

// TestRequestsToldTwice counts a request once that was told as waiting, and then given up.
func TestRequestsToldTwice(t *testing.T) {
	t.Parallel()
	a := askedAggregator()
	for _, outcome := range []record.Outcome{record.Answered, record.TimedOut, record.GivenUp} {
		r := requested("10.0.0.1:40000", "10.0.0.2:80", true, outcome, time.Minute)
		r.Request.Told = outcome == record.GivenUp
		a.Add(&r)
	}
	if got := a.Snapshot().Pairs[0].Requests.Client.Unanswered; got != 4 {
		t.Errorf("%d unanswered, want 4", got)
	}
}

// TestRequestsToldLate has a pair not be idle for longer because of what was given up some time ago.
func TestRequestsToldLate(t *testing.T) {
	t.Parallel()
	a := askedAggregator()
	for _, at := range []time.Duration{time.Minute, 50 * time.Second} {
		r := requested("10.0.0.1:40000", "10.0.0.2:80", true, record.GivenUp, time.Second)
		r.Time = at
		a.Add(&r)
	}
	for key, p := range a.pairs {
		if p.lastSeen != time.Minute {
			t.Errorf("%+v was last seen at %v, want %v", key, p.lastSeen, time.Minute)
		}
	}
}

// TestLeftOutRequests counts connections that are left out, each as one, whatever its requests stand for, and as no request.
func TestLeftOutRequests(t *testing.T) {
	t.Parallel()
	a := askedAggregator()
	var before *Snapshot
	for _, outcome := range []record.Outcome{record.Answered, record.LeftOut, record.LeftOut, record.Answered} {
		r := requested("10.0.0.1:40000", "10.0.0.2:80", true, outcome, time.Second)
		a.Add(&r)
		if before == nil || before.Pairs[0].Requests.Client.LeftOut == 0 {
			before = a.Snapshot()
		}
	}
	all := a.Snapshot()
	if got := all.Pairs[0].Requests.Client; got.LeftOut != 2 || got.Count() != 8 || got.Timed != 2 || got.Unanswered != 0 {
		t.Errorf("%+v", got)
	}
	if got := all.Since(before).Pairs[0].Requests.Client; got.LeftOut != 1 || got.Timed != 1 {
		t.Errorf("since then %+v", got)
	}
	sum := all.Pairs[0].Requests.clone()
	sum.Merge(before.Pairs[0].Requests)
	if got := sum.Client.LeftOut; got != 3 {
		t.Errorf("%d together, want 3", got)
	}
}

// TestRequestsBeganAnew has all of a pair's requests in the window in which the pair was evicted and came back without a packet.
func TestRequestsBeganAnew(t *testing.T) {
	t.Parallel()
	count := func(n int) *Snapshot {
		a := askedAggregator()
		for range n {
			r := requested("10.0.0.1:40000", "10.0.0.2:80", true, record.Answered, time.Millisecond)
			a.Add(&r)
		}
		return a.Snapshot()
	}
	if got := count(3).Since(count(5)).Pairs[0].Requests.Client; got.Answered.Count() != 12 || got.Timed != 3 {
		t.Errorf("%d of %d records in the window, want 12 of 3", got.Answered.Count(), got.Timed)
	}
	if got := count(5).Since(count(3)).Pairs[0].Requests.Client; got.Answered.Count() != 8 || got.Timed != 2 {
		t.Errorf("%d of %d records in the window, want 8 of 2", got.Answered.Count(), got.Timed)
	}
}
