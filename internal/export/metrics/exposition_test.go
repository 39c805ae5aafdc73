package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protojson"

	"tracer/internal/aggregate"
	"tracer/internal/export/api"
	"tracer/internal/export/exporttest"
	"tracer/internal/golden"
	"tracer/internal/netdev"
)

const acceptProtobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

func newTestCollector(source *fakeSource, change ...func(*Options)) *Collector {
	o := Options{Source: source, Now: func() time.Time { return exporttest.Noon }}
	for _, c := range change {
		c(&o)
	}
	return NewCollector(o)
}

// expose returns what a handler for the collector answers.
func expose(t testing.TB, c *Collector, accept string) []byte {
	t.Helper()
	handler, err := newHandler(c, "v1.2.3", quiet())
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", accept)
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	if response.Code != http.StatusOK {
		t.Fatalf("scrape: %d\n%s", response.Code, response.Body)
	}
	return response.Body.Bytes()
}

// TestDescribe compares what is described with what is collected, where there is something of everything.
func TestDescribe(t *testing.T) {
	t.Parallel()
	source := newSource()
	source.status.Identity = &api.IdentityStatus{Synced: map[string]bool{"pods": true}, Errors: map[string]uint64{"pods": 0}}
	c := newTestCollector(source)
	described := map[string]bool{}
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	for d := range descs {
		if described[d.String()] {
			t.Errorf("described twice: %s", d)
		}
		described[d.String()] = true
	}
	collected := map[string]bool{}
	metrics := make(chan prometheus.Metric)
	go func() { c.Collect(metrics); close(metrics) }()
	for m := range metrics {
		collected[m.Desc().String()] = true
	}
	if !maps.Equal(described, collected) {
		t.Errorf("described:\n%s\ncollected:\n%s", strings.Join(slices.Sorted(maps.Keys(described)), "\n"), strings.Join(slices.Sorted(maps.Keys(collected)), "\n"))
	}
	// What a subject collects is exported only if its family is in the subject's list.
	all := c.scrape()
	if n := len(all.values) + len(all.histograms); n != len(described) {
		t.Errorf("%d families have values, of %d that are described", n, len(described))
	}
}

func TestTextExposition(t *testing.T) {
	t.Parallel()
	var ours, process bytes.Buffer
	for line := range strings.Lines(string(expose(t, newTestCollector(newSource()), "text/plain"))) {
		if strings.Contains(line, "tracer_") {
			ours.WriteString(line)
		} else {
			process.WriteString(line)
		}
	}
	golden.Check(t, "testdata/metrics.txt", bytes.ReplaceAll(ours.Bytes(), []byte(runtime.Version()), []byte("go")))
	// Those of our own process are never the same twice.
	for _, name := range []string{"process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total", "go_goroutines", "go_gc_heap_live_bytes"} {
		if !strings.Contains(process.String(), "\n"+name+" ") {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestClassicPairsExposition(t *testing.T) {
	t.Parallel()
	c := newTestCollector(newSource(), func(o *Options) { o.ClassicPairs = true })
	var pairs bytes.Buffer
	for line := range strings.Lines(string(expose(t, c, "text/plain"))) {
		if strings.HasPrefix(line, "tracer_stage_delay_seconds") || strings.HasPrefix(line, "tracer_path_delay_seconds") {
			pairs.WriteString(line)
		}
	}
	golden.Check(t, "testdata/classic_pairs.txt", pairs.Bytes())
}

func TestProtobufExposition(t *testing.T) {
	t.Parallel()
	body := bytes.NewReader(expose(t, newTestCollector(newSource()), acceptProtobuf))
	decoder := expfmt.NewDecoder(body, expfmt.NewFormat(expfmt.TypeProtoDelim))
	var got bytes.Buffer
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(f.GetName(), "tracer_") {
			continue // our own process's
		}
		line, err := protojson.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		line = bytes.ReplaceAll(line, []byte(runtime.Version()), []byte("go"))
		// Its white space is random on purpose.
		if err := json.Indent(&got, line, "", " "); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
	}
	golden.Check(t, "testdata/metrics.json", got.Bytes())
}

func TestLint(t *testing.T) {
	t.Parallel()
	for _, classic := range []bool{false, true} {
		c := newTestCollector(newSource(), func(o *Options) { o.ClassicPairs = classic })
		problems, err := testutil.CollectAndLint(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// Whatever names there are, no scrape fails.
func TestNamesThatCollide(t *testing.T) {
	t.Parallel()
	source := newSource()
	for i, name := range []string{"veth\xff", "veth\xfe"} {
		key := exporttest.StageKey("queue", name)
		source.snapshot.Stages = append(source.snapshot.Stages, aggregate.StageDelay{StageKey: key, Delay: exporttest.Delays(1)})
		source.snapshot.InFlight = append(source.snapshot.InFlight, aggregate.InFlight{StageKey: key, Oldest: float64(i)})
		source.devices = append(source.devices, netdev.Device{Index: 90 + i, Name: name, Root: exporttest.FIFOs()})
		source.snapshot.Pairs = append(source.snapshot.Pairs, aggregate.Pair{
			PairKey: aggregate.PairKey{SrcWorkload: name, DstWorkload: "api", Direction: "out"}, Packets: 1,
			Path: exporttest.Delays(2), Stages: []aggregate.StageDelay{{StageKey: key, Delay: exporttest.Delays(1)}},
			Drops: []aggregate.DropCount{{DropKey: aggregate.DropKey{StageKey: key, Reason: name, Loss: true}, Packets: 1}},
		})
	}
	source.findings.Findings = append(source.findings.Findings, source.findings.Findings[0])
	source.status.Hooks = append(source.status.Hooks, source.status.Hooks...)
	text := string(expose(t, newTestCollector(source), "text/plain"))
	for _, want := range []string{
		`tracer_device_stage_delay_seconds_count{device="veth�",direction="out",stage="queue"} 2`,
		`tracer_stage_delay_seconds_count{device="veth�",direction="out",dst_namespace="",dst_workload="api",src_namespace="",src_workload="veth�",stage="queue"} 2`,
		`tracer_pair_drops_total{dst_namespace="",dst_workload="api",reason="veth�",src_namespace="",src_workload="veth�"} 2`,
		`tracer_inflight_oldest_seconds{device="veth�",direction="out"} 1`,
		`tracer_qdisc_drops_total{device="veth�",kind="pfifo_fast"} 14`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	// The registry compares each series with all others.
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newTestCollector(source))
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}

func TestScrapesShare(t *testing.T) {
	t.Parallel()
	source := newSource()
	now := exporttest.Noon
	var mu sync.Mutex
	c := newTestCollector(source, func(o *Options) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	handler, err := newHandler(c, "", quiet())
	if err != nil {
		t.Fatal(err)
	}
	var scrapes sync.WaitGroup
	bodies := make([]string, 8)
	for i := range bodies {
		scrapes.Go(func() {
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			bodies[i] = response.Body.String()
		})
	}
	scrapes.Wait()
	if source.snapshots != 1 || len(slices.Compact(bodies)) != 1 || bodies[0] == "" {
		t.Errorf("%d snapshots for scrapes at one time", source.snapshots)
	}
	mu.Lock()
	now = now.Add(maxAge)
	mu.Unlock()
	c.collect()
	if source.snapshots != 2 {
		t.Errorf("%d snapshots after a second", source.snapshots)
	}
}

// BenchmarkScrape answers a scrape of so many series by pair, with nothing ready from an earlier one.
func BenchmarkScrape(b *testing.B) {
	for _, series := range []int{DefaultMaxSeries, 10_000} {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			source := newSource()
			source.snapshot = manyPairs(2000, 1)
			now := exporttest.Noon
			c := newTestCollector(source, func(o *Options) {
				o.MaxSeries, o.Now = series, func() time.Time { now = now.Add(time.Minute); return now }
			})
			handler, err := newHandler(c, "", quiet())
			if err != nil {
				b.Fatal(err)
			}
			var body int
			for b.Loop() {
				response := httptest.NewRecorder()
				handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				body = strings.Count(response.Body.String(), "\n")
			}
			b.ReportMetric(float64(body), "lines")
			if body < series {
				b.Errorf("%d lines of %d series", body, series)
			}
		})
	}
}
