package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"tracer/internal/golden"
	"tracer/internal/netdev"
)

const acceptProtobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

func newTestCollector(source *fakeSource, change ...func(*CollectorOptions)) *Collector {
	o := CollectorOptions{Source: source, Now: func() time.Time { return noon }}
	for _, c := range change {
		c(&o)
	}
	return NewCollector(o)
}

// scrape returns what a handler for the collector answers.
func scrape(t testing.TB, c *Collector, accept string) []byte {
	t.Helper()
	handler, err := metricsHandler(c, "v1.2.3", quiet())
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

func TestTextExposition(t *testing.T) {
	t.Parallel()
	text := scrape(t, newTestCollector(newSource()), "text/plain")
	golden.Check(t, "testdata/metrics.txt", bytes.ReplaceAll(text, []byte(runtime.Version()), []byte("go")))
}

func TestClassicPairsExposition(t *testing.T) {
	t.Parallel()
	c := newTestCollector(newSource(), func(o *CollectorOptions) { o.ClassicPairs = true })
	var pairs bytes.Buffer
	for line := range strings.Lines(string(scrape(t, c, "text/plain"))) {
		if strings.HasPrefix(line, "tracer_stage_delay_seconds") || strings.HasPrefix(line, "tracer_path_delay_seconds") {
			pairs.WriteString(line)
		}
	}
	golden.Check(t, "testdata/classic_pairs.txt", pairs.Bytes())
}

func TestProtobufExposition(t *testing.T) {
	t.Parallel()
	body := bytes.NewReader(scrape(t, newTestCollector(newSource()), acceptProtobuf))
	decoder := expfmt.NewDecoder(body, expfmt.NewFormat(expfmt.TypeProtoDelim))
	var got bytes.Buffer
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
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
		c := newTestCollector(newSource(), func(o *CollectorOptions) { o.ClassicPairs = classic })
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
		key := stageKey("queue", name)
		source.snapshot.Stages = append(source.snapshot.Stages, aggregate.StageDelay{StageKey: key, Delay: delays(1)})
		source.snapshot.InFlight = append(source.snapshot.InFlight, aggregate.InFlight{StageKey: key, Oldest: float64(i)})
		source.devices = append(source.devices, netdev.Device{Index: 90 + i, Name: name, Root: fifos()})
		source.snapshot.Pairs = append(source.snapshot.Pairs, aggregate.Pair{
			PairKey: aggregate.PairKey{SrcWorkload: name, DstWorkload: "api", Direction: "out"}, Packets: 1,
			Path: delays(2), Stages: []aggregate.StageDelay{{StageKey: key, Delay: delays(1)}},
			Drops: []aggregate.DropCount{{DropKey: aggregate.DropKey{StageKey: key, Reason: name, Loss: true}, Packets: 1}},
		})
	}
	source.report.Findings = append(source.report.Findings, source.report.Findings[0])
	source.status.Hooks = append(source.status.Hooks, source.status.Hooks...)
	text := string(scrape(t, newTestCollector(source), "text/plain"))
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
	now := noon
	var mu sync.Mutex
	c := newTestCollector(source, func(o *CollectorOptions) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	handler, err := metricsHandler(c, "", quiet())
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
	now = now.Add(fresh)
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
			now := noon
			c := newTestCollector(source, func(o *CollectorOptions) {
				o.MaxSeries, o.Now = series, func() time.Time { now = now.Add(time.Minute); return now }
			})
			handler, err := metricsHandler(c, "", quiet())
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
