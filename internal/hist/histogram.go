// Package hist counts durations in logarithmic buckets, 16 to each doubling.
//
// The buckets are those of a Prometheus native histogram with schema 4: bucket i holds the values in
// (2^((i-1)/16), 2^(i/16)], in seconds, so that a histogram can be exposed without a change, or with two buckets
// in one as schema 3. See https://prometheus.io/docs/specs/native_histograms/#standard-exponential-schemas.
package hist

import (
	"math"
	"time"
)

// Schema is the Prometheus schema of the buckets: 2^Schema of them to each doubling.
const Schema = 4

// ZeroThreshold is the largest duration, in seconds, that is counted as zero: the clock's own step.
const ZeroThreshold = 1e-9

// MaxError is the largest relative error of a quantile: the width of a bucket.
const MaxError = 0.0443 // 2^(1/16) - 1

// maxIndex bounds the memory of a histogram: what lasts longer than 2^16 s (18 hours) is counted there.
const maxIndex = 16 << Schema

// slack is how many buckets more than needed are added, so that a histogram soon stops growing.
const slack = 4

// Histogram counts durations, each with an integer weight. The zero Histogram is empty and ready to use. A copy
// shares its buckets with the original: Clone what must not change.
type Histogram struct {
	counts []uint64 // of the buckets first, first+1, …
	first  int
	zero   uint64 // durations up to ZeroThreshold
	count  uint64 // all of them
	sum    float64
}

// Value is a duration with its bucket, worked out once for several histograms.
type Value struct {
	seconds float64
	bucket  int
}

// valueOf is the Value of a duration in seconds. Negative ones and not-a-number count as zero.
func valueOf(seconds float64) Value {
	if !(seconds > ZeroThreshold) {
		return Value{}
	}
	return Value{seconds, index(seconds)}
}

// ValueOf is the Value of a duration. A negative one counts as zero.
func ValueOf(d time.Duration) Value { return valueOf(d.Seconds()) }

// Add counts a value weight times. It allocates only when the value lies outside of the range seen so far.
func (h *Histogram) Add(v Value, weight uint64) {
	h.count += weight
	if v.seconds == 0 {
		h.zero += weight
		return
	}
	h.sum += v.seconds * float64(weight)
	i := v.bucket - h.first
	if uint(i) >= uint(len(h.counts)) {
		h.grow(v.bucket, v.bucket)
		i = v.bucket - h.first
	}
	h.counts[i] += weight
}

// Observe counts a duration in seconds, weight times.
func (h *Histogram) Observe(seconds float64, weight uint64) { h.Add(valueOf(seconds), weight) }

// ObserveDuration is Observe for a time.Duration.
func (h *Histogram) ObserveDuration(d time.Duration, weight uint64) {
	h.Add(ValueOf(d), weight)
}

// grow makes room for the buckets from first to last.
func (h *Histogram) grow(first, last int) {
	first, last = first-slack, last+slack
	if len(h.counts) > 0 {
		first, last = min(first, h.first), max(last, h.first+len(h.counts)-1)
	}
	counts := make([]uint64, last-first+1)
	if len(h.counts) > 0 {
		copy(counts[h.first-first:], h.counts)
	}
	h.counts, h.first = counts, first
}

// Count is the sum of all weights.
func (h *Histogram) Count() uint64 { return h.count }

// Sum is the sum of all durations times their weights, in seconds.
func (h *Histogram) Sum() float64 { return h.sum }

// Zero is the weight of the durations up to ZeroThreshold.
func (h *Histogram) Zero() uint64 { return h.zero }

// Mean is the mean duration in seconds, 0 if there is none.
func (h *Histogram) Mean() float64 {
	if h.count == 0 {
		return 0
	}
	return h.sum / float64(h.count)
}

// Max is the upper bound in seconds of the highest bucket used: at most MaxError above the longest duration.
func (h *Histogram) Max() float64 {
	for i := len(h.counts) - 1; i >= 0; i-- {
		if h.counts[i] > 0 {
			return upperBound(h.first + i)
		}
	}
	return 0
}

// Reset empties the histogram and keeps its memory.
func (h *Histogram) Reset() {
	clear(h.counts)
	h.zero, h.count, h.sum = 0, 0, 0
}

// Clone returns a copy that shares nothing with h and holds no more memory than it needs.
func (h *Histogram) Clone() Histogram {
	c := *h
	c.counts = nil
	if used, first := h.used(); len(used) > 0 {
		c.counts, c.first = append(make([]uint64, 0, len(used)), used...), first
	}
	return c
}

// used returns the buckets from the first to the last that is not empty, and the first one's index.
func (h *Histogram) used() ([]uint64, int) {
	low, high := 0, len(h.counts)
	for low < high && h.counts[low] == 0 {
		low++
	}
	for high > low && h.counts[high-1] == 0 {
		high--
	}
	return h.counts[low:high], h.first + low
}

// Merge adds what other counted.
func (h *Histogram) Merge(other *Histogram) {
	if used, first := other.used(); len(used) > 0 {
		last := first + len(used) - 1
		if len(h.counts) == 0 || first < h.first || last >= h.first+len(h.counts) {
			h.grow(first, last)
		}
		into := h.counts[first-h.first:]
		for i, n := range used {
			into[i] += n
		}
	}
	h.zero += other.zero
	h.count += other.count
	h.sum += other.sum
}

// Sub subtracts old, an earlier state of h: what remains was counted since. A bucket in which old has more becomes zero.
func (h *Histogram) Sub(old *Histogram) {
	h.zero -= min(h.zero, old.zero)
	h.count = h.zero
	for i, n := range h.counts {
		if j := h.first + i - old.first; uint(j) < uint(len(old.counts)) {
			n -= min(n, old.counts[j])
		}
		h.counts[i] = n
		h.count += n
	}
	h.sum = max(0, h.sum-old.sum)
	if h.count == h.zero {
		h.sum = 0 // what is left of it is rounding
	}
}

// Quantile returns the duration in seconds below which the share q (0 to 1) of the weights lies, to MaxError.
// Within a bucket, values are taken to be spread evenly by their logarithm. It is 0 if nothing was counted.
func (h *Histogram) Quantile(q float64) float64 {
	if h.count == 0 {
		return 0
	}
	rank := min(1, max(0, q)) * float64(h.count)
	seen := float64(h.zero)
	if h.zero > 0 && rank <= seen {
		return 0
	}
	for i, n := range h.counts {
		if n == 0 {
			continue
		}
		if seen+float64(n) >= rank {
			inside := max(0, rank-seen) / float64(n)
			return math.Exp2((float64(h.first+i-1) + inside) / (1 << Schema))
		}
		seen += float64(n)
	}
	return h.Max()
}

// Above is the weight of the durations longer than the given one in seconds, to MaxError of it.
func (h *Histogram) Above(seconds float64) uint64 {
	if !(seconds > ZeroThreshold) {
		return h.count - h.zero
	}
	var n uint64
	for i := max(0, index(seconds)-h.first+1); i < len(h.counts); i++ {
		n += h.counts[i]
	}
	return n
}
