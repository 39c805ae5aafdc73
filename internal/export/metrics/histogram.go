package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tracer/internal/hist"
)

// nativeSchema makes 8 buckets to each doubling: quantiles are exact to 9 %.
const nativeSchema = 3

// classicBounds are the upper bounds, in seconds, of classic buckets: from what a hop costs on an idle machine to
// what a queue of 50 kbit/s does.
var classicBounds = [...]float64{
	10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
	1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10, 30, 60,
}

// The samples that a histogram makes in the text format: buckets with +Inf, sum and count.
const (
	nativeSamples  = 1 + 2
	classicSamples = len(classicBounds) + 1 + 2
)

// histogram is one of ours as Prometheus has it. It does not change.
type histogram struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	value  *dto.Histogram
}

// newHistogram copies h, with native buckets and, if so, classic ones.
func newHistogram(desc *prometheus.Desc, h *hist.Histogram, classic bool, labels ...string) *histogram {
	value := &dto.Histogram{
		SampleCount:   new(h.Count()),
		SampleSum:     new(h.Sum()),
		Schema:        new(int32(nativeSchema)),
		ZeroThreshold: new(hist.ZeroThreshold),
		ZeroCount:     new(h.Zero()),
	}
	next := 0 // index after the last bucket
	var before int64
	for i, n := range h.Native(nativeSchema) {
		if len(value.PositiveSpan) == 0 || i != next {
			value.PositiveSpan = append(value.PositiveSpan, &dto.BucketSpan{Offset: new(int32(i - next)), Length: new(uint32(0))})
		}
		*value.PositiveSpan[len(value.PositiveSpan)-1].Length++
		value.PositiveDelta = append(value.PositiveDelta, int64(n)-before)
		before, next = int64(n), i+1
	}
	if classic {
		for i, n := range h.Cumulative(classicBounds[:]) {
			value.Bucket = append(value.Bucket, &dto.Bucket{UpperBound: new(classicBounds[i]), CumulativeCount: new(n)})
		}
	}
	return &histogram{desc: desc, labels: prometheus.MakeLabelPairs(desc, labels), value: value}
}

// Desc implements prometheus.Metric.
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements prometheus.Metric.
func (h *histogram) Write(out *dto.Metric) error {
	out.Label, out.Histogram = h.labels, h.value
	return nil
}
