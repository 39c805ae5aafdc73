package metrics

import (
	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// pairLabels are the labels that all metrics by pair of workloads have.
var pairLabels = []string{"src_namespace", "src_workload", "dst_namespace", "dst_workload"}

// pairName is what a pair's series are labelled with.
type pairName struct{ srcNamespace, srcWorkload, dstNamespace, dstWorkload string }

func nameOf(k *aggregate.PairKey) pairName {
	return pairName{clean(k.SrcNamespace), clean(k.SrcWorkload), clean(k.DstNamespace), clean(k.DstWorkload)}
}

// labels are the values of a metric's labels before those of pairLabels, and then these.
func (n pairName) labels(before ...string) []string {
	return append(before, n.srcNamespace, n.srcWorkload, n.dstNamespace, n.dstWorkload)
}

// pairAccumulator is what the series of one name have counted. It never goes down.
type pairAccumulator struct {
	packets, bytes float64
	paths          map[journey.Direction]*hist.Histogram
	stages         map[aggregate.StageKey]*hist.Histogram
	drops          map[string]uint64 // by reason
	tcp            *aggregate.TCP    // nil if there was no record of its connections
	requests       *aggregate.Requests
}

func newPairAccumulator() *pairAccumulator {
	return &pairAccumulator{
		paths:  make(map[journey.Direction]*hist.Histogram),
		stages: make(map[aggregate.StageKey]*hist.Histogram),
		drops:  make(map[string]uint64),
	}
}

// add counts what a pair has, in all or in a window.
func (a *pairAccumulator) add(p *aggregate.Pair) {
	a.packets += p.Packets
	a.bytes += p.Bytes
	merge(a.paths, p.Direction, &p.Path)
	for i := range p.Stages {
		merge(a.stages, cleanStage(p.Stages[i].StageKey), &p.Stages[i].Delay)
	}
	for i := range p.Drops {
		if d := &p.Drops[i]; d.Loss {
			a.drops[clean(d.Reason)] += d.Packets
		}
	}
	if p.TCP != nil {
		if a.tcp == nil {
			a.tcp = &aggregate.TCP{}
		}
		a.tcp.Merge(p.TCP)
	}
	if p.Requests != nil {
		if a.requests == nil {
			a.requests = &aggregate.Requests{}
		}
		a.requests.Merge(p.Requests)
	}
}

func merge[K comparable](into map[K]*hist.Histogram, key K, h *hist.Histogram) {
	if h.Count() == 0 {
		return
	}
	if into[key] == nil {
		into[key] = new(hist.Histogram)
	}
	into[key].Merge(h)
}

func (a *pairAccumulator) empty() bool {
	return a.packets == 0 && len(a.drops) == 0 && len(a.stages) == 0 && a.tcp == nil && a.requests == nil
}

// trafficSamples is how many samples collectTraffic makes: packets and bytes.
const trafficSamples = 2

// samples is how many samples collect makes in the text format, where a histogram makes perHistogram.
func (a *pairAccumulator) samples(perHistogram int) int {
	n := trafficSamples + len(a.drops) + perHistogram*(len(a.paths)+len(a.stages))
	if a.tcp != nil {
		n += 1 + perHistogram
	}
	if a.requests != nil {
		n += requestSamples(perHistogram)
	}
	return n
}

// collect adds all of its metrics.
func (a *pairAccumulator) collect(to *scrape, name pairName, classic bool) {
	a.collectTraffic(to, name)
	a.collectDrops(to, name)
	a.collectTCP(to, name, classic)
	a.collectRequests(to, name, classic)
	a.collectPathDelays(to, name, classic)
	a.collectStageDelays(to, name, classic)
}
