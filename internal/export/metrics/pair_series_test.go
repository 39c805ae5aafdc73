package metrics

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tracer/internal/aggregate"
	"tracer/internal/export/exporttest"
	"tracer/internal/journey"
)

// pairOf is a pair from one workload to api, with its delay in one stage.
func pairOf(from string, direction journey.Direction, packets int, seconds float64, drops uint64) aggregate.Pair {
	p := aggregate.Pair{
		PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: from, DstNamespace: "default", DstWorkload: "api", Direction: direction},
		Packets: float64(packets), Bytes: 100 * float64(packets),
		Stages: []aggregate.StageDelay{{StageKey: aggregate.StageKey{Stage: journey.Queue, Device: "tunl0", Direction: direction}}},
	}
	p.Path.Observe(seconds, uint64(packets))
	p.Stages[0].Delay.Observe(seconds, uint64(packets))
	if drops > 0 {
		p.Drops = []aggregate.DropCount{{DropKey: aggregate.DropKey{StageKey: p.Stages[0].StageKey, Reason: "QDISC_DROP", Loss: true}, Packets: drops}}
	}
	return p
}

// ownSamples is what pairOf makes without drops.
const ownSamples = trafficSamples + 2*nativeSamples

func snapshotOf(minute int, pairs ...aggregate.Pair) *aggregate.Snapshot {
	s := &aggregate.Snapshot{Taken: exporttest.Noon.Add(time.Duration(minute) * time.Minute), Window: time.Minute, Pairs: pairs}
	all := map[aggregate.StageKey]bool{}
	for _, p := range pairs {
		for _, st := range p.Stages {
			all[st.StageKey] = true
		}
		s.Drops = append(s.Drops, p.Drops...)
	}
	for k := range all {
		s.Stages = append(s.Stages, aggregate.StageDelay{StageKey: k, Delay: exporttest.Delays(1)})
	}
	return s
}

func manyPairs(n, packets int) *aggregate.Snapshot {
	var pairs []aggregate.Pair
	for i := range n {
		pairs = append(pairs, pairOf(fmt.Sprintf("web-%04d", i), journey.Out, packets*(i+1), 0.001, 0))
	}
	return snapshotOf(packets, pairs...)
}

// collect returns the metrics of the pairs in a snapshot.
func collect(s *pairSeries, snapshot *aggregate.Snapshot) (metrics []prometheus.Metric) {
	all := newScrape()
	s.collect(snapshot, all)
	for _, f := range s.subject().families {
		metrics = all.metrics(metrics, f)
	}
	return metrics
}

// seriesOf are the values of metrics by name and labels, those of histograms by their count and their sum, and how
// many samples the text format has of them.
func seriesOf(t testing.TB, metrics []prometheus.Metric) (values map[string]float64, samples int) {
	t.Helper()
	values = make(map[string]float64)
	put := func(key string, v float64) {
		if _, ok := values[key]; ok {
			t.Errorf("%s is there twice", key)
		}
		values[key] = v
	}
	for _, m := range metrics {
		var out dto.Metric
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(m.Desc().String(), `fqName: "`)
		name, _, _ = strings.Cut(name, `"`)
		var labels []string
		for _, l := range out.Label {
			if l.GetValue() != "" && l.GetValue() != "default" {
				labels = append(labels, l.GetValue())
			}
		}
		name += " " + strings.Join(labels, " ")
		switch {
		case out.Histogram != nil:
			put(name+" count", float64(out.Histogram.GetSampleCount()))
			put(name+" sum", out.Histogram.GetSampleSum())
			samples += nativeSamples + len(out.Histogram.Bucket)
		case out.Counter != nil:
			put(name, out.Counter.GetValue())
			samples++
		}
	}
	return values, samples
}

// owners are the workloads with series of their own.
func owners(s *pairSeries) (own []string) {
	for name, g := range s.groups {
		if g.own != nil {
			own = append(own, name.srcWorkload)
		}
	}
	slices.Sort(own)
	return own
}

func TestPairsThatFit(t *testing.T) {
	t.Parallel()
	pairs := newPairSeries(1000, false)
	got, samples := seriesOf(t, collect(pairs, snapshotOf(0,
		pairOf("web", journey.Out, 10, 0.5, 3), pairOf("web", journey.Local, 5, 0.001, 2), pairOf("db", journey.Out, 1, 0.001, 0))))
	want := map[string]float64{
		"tracer_packets_total api web":                             15,
		"tracer_bytes_total api web":                               1500,
		"tracer_pair_drops_total api QDISC_DROP web":               5,
		"tracer_path_delay_seconds out api web count":              10,
		"tracer_path_delay_seconds local api web count":            5,
		"tracer_stage_delay_seconds tunl0 out api web queue count": 10,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, want %v; all: %v", k, got[k], v, slices.Sorted(maps.Keys(got)))
		}
	}
	if want := trafficSamples + 1 + 4*nativeSamples + ownSamples; samples != want {
		t.Errorf("%d samples, want %d", samples, want)
	}
	for k := range got {
		if strings.Contains(k, "_other") {
			t.Errorf("there is %s though all fit", k)
		}
	}
	if pairs.overflow != 0 {
		t.Errorf("overflow %d", pairs.overflow)
	}
}

func TestBusiestAndWorstFirst(t *testing.T) {
	t.Parallel()
	s := snapshotOf(0,
		pairOf("busy", journey.Out, 10_000, 1e-6, 0), pairOf("slow", journey.Out, 100, 5, 0),
		pairOf("lossy", journey.Out, 50, 1e-6, 1000), pairOf("calm", journey.Out, 100, 1e-6, 0),
		pairOf("idle", journey.Out, 1, 1e-6, 0))
	pairs := newPairSeries(3*ownSamples+1+trafficSamples+1+nativeSamples*4, false) // three, one with drops, and what is kept for _other
	got, samples := seriesOf(t, collect(pairs, s))
	if own := owners(pairs); !slices.Equal(own, []string{"busy", "lossy", "slow"}) {
		t.Errorf("series have %v", own)
	}
	if got["tracer_packets_total _other _other"] != 101 || got["tracer_path_delay_seconds out _other _other count"] != 101 {
		t.Errorf("_other has %v", got)
	}
	if samples > pairs.maxSeries {
		t.Errorf("%d samples of %d", samples, pairs.maxSeries)
	}
	if pairs.overflow != 2 {
		t.Errorf("overflow %d", pairs.overflow)
	}
	collect(pairs, s)
	if pairs.overflow != 2 {
		t.Errorf("overflow %d with nothing new", pairs.overflow)
	}
}

// Two of about the same rank do not take turns, and one that has become much busier gets in.
func TestSeriesStay(t *testing.T) {
	t.Parallel()
	pairs := newPairSeries(ownSamples+trafficSamples, false)
	at := func(minute, a, b int) []string {
		collect(pairs, snapshotOf(minute, pairOf("a", journey.Out, a, 1e-3, 0), pairOf("b", journey.Out, b, 1e-3, 0)))
		return owners(pairs)
	}
	for i, step := range []struct {
		a, b int
		want string
	}{{100, 90, "a"}, {200, 210, "a"}, {300, 330, "a"}, {400, 5000, "b"}, {500, 5100, "b"}} {
		if own := at(i, step.a, step.b); !slices.Equal(own, []string{step.want}) {
			t.Errorf("step %d: series have %v, want %s", i, own, step.want)
		}
	}
	// Hours later the past is forgotten.
	if own := at(600, 800, 5100); !slices.Equal(own, []string{"a"}) {
		t.Errorf("series have %v", own)
	}
}

// However pairs come, go, start again and change places, no counter of a series goes down while the series is
// there, what is counted adds up, and the cap holds.
func TestCountersNeverGoDown(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		maxSeries := []int{1, 2, 10, 30, 60, 100, 200, 1000}[random.IntN(8)]
		series := newPairSeries(maxSeries, random.IntN(2) == 0)
		var before map[string]float64
		counts := map[string]int{}
		for minute := range 60 {
			var pairs []aggregate.Pair
			for i := range 12 {
				for _, direction := range []journey.Direction{journey.Out, journey.Local} {
					name := fmt.Sprintf("%s-%d", direction, i)
					if random.IntN(10) == 0 { // evicted; may come back with less
						counts[name] = 0
						continue
					}
					counts[name] += random.IntN(100)
					if n := counts[name]; n > 0 {
						pairs = append(pairs, pairOf(fmt.Sprintf("w%d", i), direction, n, 0.01, uint64(n/10)))
					}
				}
			}
			had := map[string]bool{}
			for _, w := range owners(series) {
				had[w] = true
			}
			there := map[string]bool{}
			for _, g := range series.groups {
				there[g.name.srcWorkload] = true
			}
			after, samples := seriesOf(t, collect(series, snapshotOf(minute, pairs...)))
			if samples > maxSeries {
				t.Fatalf("seed %d: %d samples of %d", seed, samples, maxSeries)
			}
			still := map[string]bool{"_other": true}
			for _, w := range owners(series) {
				still[w] = had[w] && there[w]
			}
			for k, v := range after {
				fields := strings.Fields(strings.TrimSuffix(strings.TrimSuffix(k, " count"), " sum"))
				owner := ""
				for _, f := range fields {
					if f == "_other" || strings.HasPrefix(f, "w") {
						owner = f
					}
				}
				if old, ok := before[k]; ok && still[owner] && v < old-1e-6 {
					t.Fatalf("seed %d, minute %d: %s fell from %v to %v", seed, minute, k, old, v)
				}
			}
			before = after
		}
	}
}

// What a pair did before it got series of its own stays in _other, and is not counted there again.
func TestOtherKeepsWhatItCounted(t *testing.T) {
	t.Parallel()
	pairs := newPairSeries(ownSamples+trafficSamples, false)
	step := func(minute, a, b int) map[string]float64 {
		got, _ := seriesOf(t, collect(pairs, snapshotOf(minute, pairOf("a", journey.Out, a, 1e-3, 0), pairOf("b", journey.Out, b, 1e-3, 0))))
		return got
	}
	const other = "tracer_packets_total _other _other"
	if got := step(0, 100, 10); got[other] != 10 {
		t.Errorf("_other %v", got[other])
	}
	if got := step(1, 110, 10_000); got[other] != 10+10 || got["tracer_packets_total api b"] != 10_000 { // b in, a out
		t.Errorf("after the change: %v", got)
	}
	if got := step(2, 130, 10_100); got[other] != 20+20 {
		t.Errorf("_other %v", got[other])
	}
	if pairs.overflow != 2 {
		t.Errorf("overflow %d", pairs.overflow)
	}
	// Both go, _other stays.
	got, _ := seriesOf(t, collect(pairs, snapshotOf(3)))
	if len(pairs.groups) != 0 || got[other] != 40 {
		t.Errorf("%d groups, %v", len(pairs.groups), got)
	}
}
