package incident

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/overview"
)

// TestLister: what a list says of an incident is what the whole file says, also after the file has grown, was damaged or has gone.
func TestLister(t *testing.T) {
	t.Parallel()
	s := &Store{Dir: t.TempDir()}
	l := Lister{Store: s}
	check := func(what string, want int) {
		t.Helper()
		list, err := l.List(t.Context(), 10)
		if err != nil || len(list.Incidents) != want || list.Total != want {
			t.Fatalf("%s: %v, %+v", what, err, list)
		}
		for _, got := range list.Incidents {
			i, err := s.Read(got.ID)
			if err != nil {
				if !strings.Contains(got.Error, err.Error()) {
					t.Errorf("%s: %q, want %v", what, got.Error, err)
				}
				continue
			}
			want := i.Summary()
			if (got.Ended == nil) != (want.Ended == nil) || got.Ended != nil && !got.Ended.Equal(*want.Ended) {
				t.Errorf("%s: ended %v, want %v", what, got.Ended, want.Ended)
			}
			got.Ended, want.Ended = nil, nil
			if got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
	}
	check("none", 0)
	i := incidentOf(busy(20, 20, 5))
	if err := s.Begin(i, "qdisc-delay"); err != nil {
		t.Fatal(err)
	}
	first := i.ID
	if err := s.Begin(i, "nic"); err != nil {
		t.Fatal(err)
	}
	check("two", 2)
	if err := s.AddFrame(first, &i.Frames[0]); err != nil {
		t.Fatal(err)
	}
	check("grown", 2)
	if err := s.AddChange(first, &Change{Kind: Ends, Time: began.Add(1e9), Finding: i.Changes[0].Finding}); err != nil {
		t.Fatal(err)
	}
	check("ended", 2)
	if err := os.Truncate(s.path(i.ID), 5000); err != nil {
		t.Fatal(err)
	}
	check("cut short", 2)
	if err := os.Truncate(s.path(i.ID), 10); err != nil {
		t.Fatal(err)
	}
	check("without a header", 2)
	if err := os.Remove(s.path(first)); err != nil {
		t.Fatal(err)
	}
	check("one has gone", 1)
	if len(l.known) != 1 {
		t.Errorf("%d are remembered", len(l.known))
	}
}

// TestTrends: a pair's history has a point each 5 s, of a frame that is longer several, and of another pair none.
func TestTrends(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(20, 20, 6))
	i.Frames = append(i.Frames[:2:2], i.Frames[4]) // one lacks: 10 s of which nothing is known
	pair := i.Frames[0].Counts.Pairs[0].PairKey
	all := trends(points(i.Frames), pair)
	if len(all) != 4 {
		t.Fatalf("%d stages: %+v", len(all), all)
	}
	for _, trend := range all {
		if len(trend.P50) != 5 || trend.EverySeconds != 5 || trend.P50[0] == nil || trend.P50[1] == nil || trend.P50[2] != nil || trend.P50[3] != nil || trend.P50[4] == nil {
			t.Errorf("%s: %v", trend.Place, trend.P50)
		}
	}
	pair.SrcWorkload = "nobody"
	if other := trends(points(i.Frames), pair); len(other) != 0 {
		t.Errorf("of another pair: %+v", other)
	}
}

// TestTrendOfRequests: what became of a pair's requests is told by the frames, of a longer one for each of its points and between two
// for none, and what went unanswered is a rate.
func TestTrendOfRequests(t *testing.T) {
	t.Parallel()
	s := busy(2, 2, 6)
	for n := range s {
		r := &aggregate.Requests{}
		r.Client.Answered.Observe(0.3, 50*uint64(n+1))
		r.Server.Answered.Observe(0.1, 50*uint64(n+1))
		r.Client.Unanswered = 10 * uint64(n+1)
		p := &s[n].Counts.Pairs[0]
		p.Requests, p.Path = r, p.Stages[1].Delay.Clone() // each packet meets all stages
	}
	i := incidentOf(s)
	sparse := NewFrame(&s[3], &s[5], nil, &i.Frames[4].Report, nil, nil) // 10 s, after 5 s of which nothing is known
	i.Frames = append(i.Frames[:2:2], sparse)
	pair := s[0].Counts.Pairs[0].PairKey
	got := requestTrend(points(i.Frames), pair)
	if got == nil || got.EverySeconds != 5 || len(got.Client) != 5 || len(got.Stages) != 4 {
		t.Fatalf("%+v", got)
	}
	for k := range got.Client {
		if k == 2 {
			if got.Client[k] != nil || got.Rest[k] != nil || got.PerSecond[k] != nil || got.Unanswered[k] != nil {
				t.Errorf("between two frames: %v s, %v/s", got.Client[k], got.PerSecond[k])
			}
			continue
		}
		sum := *got.Server[k] + *got.Other[k] + *got.Rest[k]
		for _, stage := range got.Stages {
			sum += *stage.Seconds[k]
		}
		if math.Abs(sum-*got.Client[k]) > 1e-9 || math.Abs(*got.PerSecond[k]-10) > 1e-9 || math.Abs(*got.Unanswered[k]-2) > 1e-9 {
			t.Errorf("point %d: %v in all, of %v; %v/s, %v/s unanswered", k, sum, *got.Client[k], *got.PerSecond[k], *got.Unanswered[k])
		}
	}
	unkept := i.Frames[1].Counts
	i.Frames[1].Counts = &aggregate.Snapshot{Taken: unkept.Taken, Window: unkept.Window, Pairs: unkept.Pairs[1:]}
	if got = requestTrend(points(i.Frames), pair); got.PerSecond[1] != nil || got.PerSecond[0] == nil {
		t.Errorf("a frame without the pair: %v, %v/s", got.PerSecond[1], got.PerSecond[0])
	}
	full := &aggregate.Snapshot{Taken: unkept.Taken, Window: unkept.Window, Pairs: slices.Clone(unkept.Pairs)}
	for n := 0; len(full.Pairs) < maxPairs; n++ {
		full.Pairs = append(full.Pairs, aggregate.Pair{PairKey: aggregate.PairKey{SrcWorkload: fmt.Sprint("other", n), DstWorkload: "z", Direction: pair.Direction}})
	}
	back := pair.Reverse()
	i.Frames[1].Counts = full
	if slices.ContainsFunc(full.Pairs, func(p aggregate.Pair) bool { return p.PairKey == back }) {
		t.Fatal("the way back is kept")
	}
	if got = requestTrend(points(i.Frames), pair); got.PerSecond[1] == nil || got.Client[1] != nil || got.Rest[1] != nil || got.Rest[0] == nil {
		t.Errorf("a full frame without the way back: %v/s, client %v, rest %v", got.PerSecond[1], got.Client[1], got.Rest[1])
	}
	full.Pairs[maxPairs-1].PairKey = back
	if got = requestTrend(points(i.Frames), pair); got.Client[1] == nil || got.Rest[1] == nil {
		t.Error("a full frame with the way back: nothing is known of the time")
	}
	i.Frames[1].Counts = unkept
	q := overview.Query{By: overview.ByPair, Limit: 10, Pair: &pair}
	if o, err := i.Overview(2, q); err != nil || o.Detail.Requests == nil {
		t.Errorf("%v, %+v", err, o)
	}
	pair.SrcWorkload = "nobody"
	if other := requestTrend(points(i.Frames), pair); other != nil {
		t.Errorf("of another pair: %+v", other)
	}
}

// BenchmarkReplayedFrame is what a step through an incident on the page costs the agent: the file is read, and a frame of it becomes an overview
// with a pair in detail. The incident has as many frames as it may, of a node with 2,000 pairs.
func BenchmarkReplayedFrame(b *testing.B) {
	i := incidentOf(busy(2000, 300, 24))
	text := encoded(b, i)
	pair := i.Frames[0].Counts.Pairs[0].PairKey
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		back, err := Read(bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := back.Overview(len(back.Frames)-1, overview.Query{By: overview.ByPair, Limit: 100, Pair: &pair}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSummary is what the list of incidents costs for each file that has changed.
func BenchmarkSummary(b *testing.B) {
	text := encoded(b, incidentOf(busy(2000, 300, 24)))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ReadSummary(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
