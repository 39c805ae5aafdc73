package metrics

import (
	"math"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tracer/internal/hist"
)

// Native buckets, read by the rules of Prometheus, are those of hist.
func TestNativeBuckets(t *testing.T) {
	t.Parallel()
	desc := prometheus.NewDesc("h", "h", nil, nil)
	var h hist.Histogram
	for _, s := range []float64{0, 0, 3e-9, 1e-6, 1.1e-6, 1.11e-6, 0.25, 0.5, 0.51, 0.52, 1, 1.0001, 4000} {
		h.Observe(s, 3)
	}
	m := newHistogram(desc, &h, true)
	var out dto.Metric
	if err := m.Write(&out); err != nil || m.Desc() != desc {
		t.Fatal(err)
	}
	value := out.Histogram
	got := map[int]int64{}
	index, n, k := 0, int64(0), 0
	for _, span := range value.PositiveSpan {
		index += int(span.GetOffset())
		for range span.GetLength() {
			n += value.PositiveDelta[k]
			got[index] = n
			index, k = index+1, k+1
		}
	}
	if k != len(value.PositiveDelta) {
		t.Errorf("spans cover %d of %d buckets", k, len(value.PositiveDelta))
	}
	want := map[int]int64{}
	for i, n := range h.Native(nativeSchema) {
		want[i] = int64(n)
	}
	if len(got) != len(want) {
		t.Errorf("%d buckets, want %d", len(got), len(want))
	}
	for i, n := range want {
		if got[i] != n {
			t.Errorf("bucket %d: %d, want %d", i, got[i], n)
		}
	}
	// A second lies in the bucket that ends with it: (2^(-1/8), 1].
	if i := int(math.Ceil(math.Log2(1) * 8)); got[i] != 3 {
		t.Errorf("bucket %d of 1 s: %d", i, got[i])
	}
	if value.GetZeroCount() != 6 || value.GetSampleCount() != 39 {
		t.Errorf("zero %d, count %d", value.GetZeroCount(), value.GetSampleCount())
	}
	if len(value.Bucket) != len(classicBounds) || value.Bucket[len(classicBounds)-1].GetCumulativeCount() != 36 {
		t.Errorf("classic buckets %v", value.Bucket)
	}
}
