package export

import (
	"cmp"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of CollectorOptions.
const (
	DefaultMaxSeries = 2000
	DefaultWindow    = 15 * time.Second
)

const (
	// fresh is for how long a scrape takes what another one has just collected.
	fresh = time.Second
)

// CollectorOptions are a Collector's. Source is required; of the others the zero value means the default.
type CollectorOptions struct {
	Source Source
	// MaxSeries bounds the series by pair, as the text format counts them: each bucket, sum and count is one.
	MaxSeries int
	// ClassicPairs gives the histograms by pair classic buckets beside native ones.
	ClassicPairs bool
	// Window is the time that findings are about.
	Window time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Log takes what keeps a scrape from being whole; slog.Default() if nil.
	Log *slog.Logger
}

// Collector makes Prometheus metrics of what a Source has.
type Collector struct {
	source Source
	window time.Duration
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex // held while metrics are made: scrapes at the same time share them
	made    time.Time
	metrics []prometheus.Metric // not changed once made
	qdiscs  qdiscLedger
	pairs   *pairLayer
}

// NewCollector returns a Collector that has not collected yet.
func NewCollector(o CollectorOptions) *Collector {
	c := &Collector{
		source: o.Source,
		window: cmp.Or(o.Window, DefaultWindow),
		now:    o.Now,
		log:    cmp.Or(o.Log, slog.Default()),
		pairs:  newPairLayer(cmp.Or(o.MaxSeries, DefaultMaxSeries), o.ClassicPairs),
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{deviceStageDelay, stageDelay, pathDelay} {
		ch <- desc
	}
	for _, f := range []family{
		drops, inflightOldest, qdiscInfo, qdiscBacklog, qdiscDrops, qdiscOverlimits,
		pairPackets, pairBytes, pairDrops, finding, recordsLost, journeys, sampleRatio, sampleOneIn, sampleBudget, hookUp,
		bpfRunSeconds, bpfRecursionMisses, identityMisses, seriesOverflow, buildInfo,
	} {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.collect() {
		ch <- m
	}
}

func (c *Collector) collect() []prometheus.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.metrics != nil && c.now().Sub(c.made) < fresh {
		return c.metrics
	}
	snapshot := c.source.Brief()
	metrics := deviceMetrics(nil, snapshot, c.source.Devices(), &c.qdiscs)
	metrics = c.pairs.metrics(metrics, snapshot)
	metrics = selfMetrics(metrics, c.source.Status(), c.pairs.overflow)
	if report, err := c.source.Findings(c.window); err != nil {
		c.log.Error("metrics have no findings: diagnosis failed", "err", err)
	} else {
		metrics = findingMetrics(metrics, &report)
	}
	c.metrics, c.made = metrics, c.now()
	return c.metrics
}
