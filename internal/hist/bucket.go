package hist

import (
	"iter"
	"math"
)

// bounds are the upper bounds of the buckets in [1, 2): 2^(k/16), each the float64 nearest to it.
var bounds = [1 << Schema]float64{
	1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916,
	1.189207115002721, 1.241857812073484, 1.2968395546510096, 1.3542555469368927,
	1.4142135623730951, 1.4768261459394993, 1.5422108254079407, 1.6104903319492543,
	1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474,
}

// stepBits are the leading bits of a mantissa, by which a bucket is looked up: they divide a doubling into 64 steps. That is
// finer than the narrowest bucket (2^(1/16)-1 = 1/22), so that at most one bound lies within a step.
const stepBits = 6

// stepBuckets is the bucket of the lowest value in each step.
var stepBuckets = func() (table [1 << stepBits]uint8) {
	for step := range table {
		lowest := 1 + float64(step)/(1<<stepBits)
		k := 0
		for k < len(bounds) && bounds[k] < lowest {
			k++
		}
		table[step] = uint8(k)
	}
	return table
}()

// index is the bucket of a positive duration in seconds: the least i for which seconds <= 2^(i/16).
func index(seconds float64) int {
	const mantissaBits, bias = 52, 1023
	b := math.Float64bits(seconds)
	exponent := int(b>>mantissaBits) - bias
	mantissa := b & (1<<mantissaBits - 1)
	k := int(stepBuckets[mantissa>>(mantissaBits-stepBits)])
	// The value may be above the bound that lies within its step.
	if k < len(bounds) && math.Float64frombits(bias<<mantissaBits|mantissa) > bounds[k] {
		k++
	}
	return min(exponent<<Schema+k, maxIndex)
}

// upperBound is the upper bound in seconds of bucket i, which belongs to it.
func upperBound(i int) float64 {
	return math.Ldexp(bounds[i&(1<<Schema-1)], i>>Schema)
}

// Buckets yields the upper bound in seconds and the count of each non-empty bucket, in ascending order, without the zero bucket.
func (h *Histogram) Buckets() iter.Seq2[float64, uint64] {
	return func(yield func(float64, uint64) bool) {
		for i, n := range h.Native(Schema) {
			if !yield(upperBound(i), n) {
				return
			}
		}
	}
}

// Native yields index and count of each non-empty bucket as a Prometheus native histogram of the given schema has them, in
// ascending order, without the zero bucket. The schema is at most Schema.
func (h *Histogram) Native(schema int) iter.Seq2[int, uint64] {
	shift := max(0, Schema-schema)
	return func(yield func(int, uint64) bool) {
		var at int
		var sum uint64
		for i, n := range h.counts {
			if n == 0 {
				continue
			}
			// Bucket j of the coarser schema ends where bucket j<<shift ends.
			j := (h.first + i + 1<<shift - 1) >> shift
			if j != at && sum > 0 {
				if !yield(at, sum) {
					return
				}
				sum = 0
			}
			at, sum = j, sum+n
		}
		if sum > 0 {
			yield(at, sum)
		}
	}
}

// Cumulative returns how many durations are at most each of the ascending bounds, in seconds, as the buckets of a classic
// Prometheus histogram have it. Where a bound lies within a bucket, that counts as a whole or not at all, whichever edge is
// nearer: as if the bound were up to half a bucket (2.2 %) off.
func (h *Histogram) Cumulative(le []float64) []uint64 {
	out := make([]uint64, len(le))
	sum, i := h.zero, 0
	for k, bound := range le {
		for i < len(h.counts) && bound > 0 && middle(h.first+i) <= bound {
			sum += h.counts[i]
			i++
		}
		out[k] = sum
	}
	return out
}

// middle is the geometric middle of bucket i.
func middle(i int) float64 { return math.Exp2((float64(i) - 0.5) / (1 << Schema)) }
