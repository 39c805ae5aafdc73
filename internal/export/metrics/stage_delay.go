package metrics

import (
	"tracer/internal/aggregate"
	"tracer/internal/hist"
)

var (
	deviceStageDelay = histogramFamily("tracer_device_stage_delay_seconds",
		"Time that packets spent in a stage of their way through this node, all pods together.",
		"stage", "device", "direction")
	pairStageDelay = histogramFamily("tracer_stage_delay_seconds",
		"Time that a pair's packets spent in a stage of their way through this node.",
		append([]string{"stage", "device", "direction"}, pairLabels...)...)
)

// stageDelays are those of all packets.
var stageDelays = subject{
	families: []*metricFamily{deviceStageDelay},
	collect: func(from *input, to *scrape) {
		for key, delay := range byStage(from.snapshot.Stages) {
			to.histogram(deviceStageDelay, delay, true, string(key.Stage), key.Device, string(key.Direction))
		}
	},
}

// collectStageDelays adds those of a pair's packets.
func (a *pairAccumulator) collectStageDelays(to *scrape, name pairName, classic bool) {
	for key, delay := range a.stages {
		to.histogram(pairStageDelay, delay, classic, name.labels(string(key.Stage), key.Device, string(key.Direction))...)
	}
}

// byStage returns the histograms that have a value, one for each stage: names of devices may differ in no more than what
// a label cannot hold.
func byStage(stages []aggregate.StageDelay) map[aggregate.StageKey]*hist.Histogram {
	m := make(map[aggregate.StageKey]*hist.Histogram, len(stages))
	for i := range stages {
		s := &stages[i]
		if s.Delay.Count() == 0 {
			continue
		}
		k := cleanStage(s.StageKey)
		if other := m[k]; other != nil {
			both := other.Clone()
			both.Merge(&s.Delay)
			m[k] = &both
			continue
		}
		m[k] = &s.Delay
	}
	return m
}

func cleanStage(k aggregate.StageKey) aggregate.StageKey {
	k.Device = clean(k.Device)
	return k
}
