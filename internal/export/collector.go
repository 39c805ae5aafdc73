package export

import (
	"cmp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultMaxSeries is that of CollectorOptions.
const DefaultMaxSeries = 2000

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
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Collector makes Prometheus metrics of what a Source has.
type Collector struct {
	source Source
	now    func() time.Time

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
		now:    o.Now,
		pairs:  newPairLayer(cmp.Or(o.MaxSeries, DefaultMaxSeries), o.ClassicPairs),
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{deviceStageDelay, stageDelay, pathDelay, pairRTT} {
		ch <- desc
	}
	for _, f := range []family{
		drops, inflightOldest, qdiscInfo, qdiscBacklog, qdiscDrops, qdiscOverlimits,
		pairPackets, pairBytes, pairDrops, pairRetransmits, finding, recordsLost, journeys, sampleRatio, sampleOneIn, sampleBudget, hookUp,
		bpfRunSeconds, bpfRecursionMisses, identityMisses, identityEarly, seriesOverflow, buildInfo,
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
	snapshot := c.source.SnapshotWithoutFlows()
	metrics := deviceMetrics(nil, snapshot, c.source.Devices(), &c.qdiscs)
	metrics = c.pairs.metrics(metrics, snapshot)
	metrics = selfMetrics(metrics, c.source.Status(), c.pairs.overflow)
	metrics = findingMetrics(metrics, c.source.Held())
	c.metrics, c.made = metrics, c.now()
	return c.metrics
}
