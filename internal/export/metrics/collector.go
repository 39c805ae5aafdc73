// Package metrics serves what was traced as Prometheus metrics. Each file holds one subject: its metric families and the
// function that collects them. NewServer serves them; a Collector can be registered elsewhere.
package metrics

import (
	"cmp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tracer/internal/aggregate"
	"tracer/internal/export/api"
	"tracer/internal/netdev"
)

// DefaultMaxSeries is that of Options.
const DefaultMaxSeries = 2000

// maxAge is how old the metrics may be that a scrape takes from one shortly before.
const maxAge = time.Second

// Source is where metrics come from. Its methods may be called by many goroutines at once.
type Source interface {
	// SnapshotWithoutFlows is what was counted since the start, less the flows.
	SnapshotWithoutFlows() *aggregate.Snapshot
	// Devices are those traced, with their qdiscs' counters as of now.
	Devices() []netdev.Device
	Status() api.Status
	ActiveFindings() api.ActiveFindings
}

// Options of a Collector. Source is required; of the others the zero value means the default.
type Options struct {
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
	source   Source
	now      func() time.Time
	subjects []subject // what Describe and Collect go by

	mu      sync.Mutex // held while metrics are made: scrapes at the same time share them
	made    time.Time
	metrics []prometheus.Metric // not changed once made
}

// subject is metric families that are collected together.
type subject struct {
	families []*metricFamily
	collect  func(from *input, to *scrape)
}

// input is what the Source had at the time of a scrape.
type input struct {
	snapshot *aggregate.Snapshot
	devices  []netdev.Device
	status   api.Status
	findings api.ActiveFindings
}

// NewCollector returns a Collector that has not collected yet.
func NewCollector(o Options) *Collector {
	c := &Collector{source: o.Source, now: o.Now}
	if c.now == nil {
		c.now = time.Now
	}
	pairs := newPairSeries(cmp.Or(o.MaxSeries, DefaultMaxSeries), o.ClassicPairs)
	c.subjects = []subject{
		stageDelays, drops, inFlight, new(qdiscAccumulator).subject(), pairs.subject(), findings,
		journeys, sampling, watchedConnections, hooks, coverage, programs, identity, build,
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, s := range c.subjects {
		for _, f := range s.families {
			to <- f.desc
		}
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	for _, m := range c.collect() {
		to <- m
	}
}

func (c *Collector) collect() []prometheus.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.metrics != nil && c.now().Sub(c.made) < maxAge {
		return c.metrics
	}
	all := c.scrape()
	var metrics []prometheus.Metric
	for _, s := range c.subjects {
		for _, f := range s.families {
			metrics = all.metrics(metrics, f)
		}
	}
	c.metrics, c.made = metrics, c.now()
	return c.metrics
}

func (c *Collector) scrape() *scrape {
	from := &input{
		snapshot: c.source.SnapshotWithoutFlows(), devices: c.source.Devices(),
		status: c.source.Status(), findings: c.source.ActiveFindings(),
	}
	all := newScrape()
	for _, s := range c.subjects {
		s.collect(from, all)
	}
	return all
}
