package export

import (
	"github.com/prometheus/client_golang/prometheus"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// The metrics by pair of workloads.
var (
	pairLabels = []string{"src_namespace", "src_workload", "dst_namespace", "dst_workload"}

	stageDelay = prometheus.NewDesc("tracer_stage_delay_seconds",
		"Time that a pair's packets spent in a stage of their way through this node.",
		append([]string{"stage", "device", "direction"}, pairLabels...), nil)
	pathDelay = prometheus.NewDesc("tracer_path_delay_seconds",
		"Time that a pair's packets spent on this node, from the first hook to the last.",
		append([]string{"direction"}, pairLabels...), nil)
	pairPackets = newFamily(prometheus.CounterValue, "tracer_packets_total",
		"Packets (segments) of a pair that passed this node.", pairLabels...)
	pairBytes = newFamily(prometheus.CounterValue, "tracer_bytes_total",
		"Bytes of a pair's inner IP packets that passed this node.", pairLabels...)
	pairDrops = newFamily(prometheus.CounterValue, "tracer_pair_drops_total",
		"Packets (sk_buffs) of a pair that were lost on this node, by the kernel's reason.",
		append([]string{"reason"}, pairLabels...)...)
	pairRTT = prometheus.NewDesc("tracer_tcp_rtt_seconds",
		"Round trips of a pair's TCP connections by the sender's kernel, sampled; delayed acknowledgements included.", pairLabels, nil)
	pairRetransmits = newFamily(prometheus.CounterValue, "tracer_tcp_retransmits_total",
		"TCP segments of a pair that its sender, on this node, has sent again.", pairLabels...)
)

// pairName is what a pair's series are labelled with.
type pairName struct{ srcNamespace, srcWorkload, dstNamespace, dstWorkload string }

func nameOf(k *aggregate.PairKey) pairName {
	return pairName{clean(k.SrcNamespace), clean(k.SrcWorkload), clean(k.DstNamespace), clean(k.DstWorkload)}
}

func (n pairName) labels(before ...string) []string {
	return append(before, n.srcNamespace, n.srcWorkload, n.dstNamespace, n.dstWorkload)
}

// tally is what the series of one name have counted.
type tally struct {
	packets, bytes float64
	paths          map[journey.Direction]*hist.Histogram
	stages         map[aggregate.StageKey]*hist.Histogram
	drops          map[string]uint64 // by reason
	tcp            *aggregate.TCP    // nil if none of its connections was looked at
}

func newTally() *tally {
	return &tally{
		paths:  make(map[journey.Direction]*hist.Histogram),
		stages: make(map[aggregate.StageKey]*hist.Histogram),
		drops:  make(map[string]uint64),
	}
}

// add counts what a pair has, which may be the growth of one.
func (t *tally) add(p *aggregate.Pair) {
	t.packets += p.Packets
	t.bytes += p.Bytes
	merge(t.paths, p.Direction, &p.Path)
	for i := range p.Stages {
		merge(t.stages, cleanStage(p.Stages[i].StageKey), &p.Stages[i].Delay)
	}
	for i := range p.Drops {
		if d := &p.Drops[i]; d.Loss {
			t.drops[clean(d.Reason)] += d.Packets
		}
	}
	if p.TCP != nil {
		if t.tcp == nil {
			t.tcp = &aggregate.TCP{}
		}
		t.tcp.Merge(p.TCP)
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

func (t *tally) empty() bool {
	return t.packets == 0 && len(t.drops) == 0 && len(t.stages) == 0 && t.tcp == nil
}

// samples is how many the tally makes in the text format, where a histogram makes so many.
func (t *tally) samples(histogram int) int {
	n := brief + len(t.drops) + histogram*(len(t.paths)+len(t.stages))
	if t.tcp != nil {
		n += 1 + histogram
	}
	return n
}

// brief is how many samples remain of a tally for which there is no room: packets and bytes.
const brief = 2

// pairSeries are the metrics by pair, in the making.
type pairSeries struct {
	packets, bytes, drops, retransmits family
	histograms                         []prometheus.Metric
	classic                            bool
}

func (s *pairSeries) add(name pairName, t *tally) {
	s.addBrief(name, t)
	for reason, n := range t.drops {
		s.drops.add(float64(n), name.labels(reason)...)
	}
	if t.tcp != nil {
		s.retransmits.add(float64(t.tcp.Retransmits), name.labels()...)
		if t.tcp.RTT.Count() > 0 {
			s.histograms = append(s.histograms, newHistogram(pairRTT, &t.tcp.RTT, s.classic, name.labels()...))
		}
	}
	for direction, h := range t.paths {
		s.histograms = append(s.histograms, newHistogram(pathDelay, h, s.classic, name.labels(string(direction))...))
	}
	for k, h := range t.stages {
		s.histograms = append(s.histograms,
			newHistogram(stageDelay, h, s.classic, name.labels(string(k.Stage), k.Device, string(k.Direction))...))
	}
}

func (s *pairSeries) addBrief(name pairName, t *tally) {
	s.packets.add(t.packets, name.labels()...)
	s.bytes.add(t.bytes, name.labels()...)
}

func (s *pairSeries) metrics(to []prometheus.Metric) []prometheus.Metric {
	to = append(to, s.histograms...)
	for _, f := range []family{s.packets, s.bytes, s.drops, s.retransmits} {
		to = f.metrics(to)
	}
	return to
}
