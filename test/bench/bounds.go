package main

import (
	"math"
	"slices"
)

// bounds are of a median, each with a confidence of 95 %. With too few samples there are none.
type bounds struct {
	Low  *float64 `json:"low"`
	High *float64 `json:"high"`
}

func boundsOf(samples []float64) bounds {
	low, high, ok := medianBounds(samples)
	if !ok {
		return bounds{}
	}
	low, high = thousandths(low), thousandths(high)
	return bounds{&low, &high}
}

// atLeast is the verdict of a limit that the median is not to fall below.
func (b bounds) atLeast(limit float64) string {
	switch {
	case b.Low != nil && *b.Low >= limit:
		return holds
	case b.High != nil && *b.High < limit:
		return exceeded
	default:
		return notShown
	}
}

// atMost is that of one which it is not to rise above.
func (b bounds) atMost(limit float64) string {
	switch {
	case b.High != nil && *b.High <= limit:
		return holds
	case b.Low != nil && *b.Low > limit:
		return exceeded
	default:
		return notShown
	}
}

// medianBounds returns values that the median, of what the samples are drawn from, is above and below with a
// confidence of 95 % each. They are samples themselves, of which so many lie beyond as would seldom do by chance, and
// so nothing is supposed of how they are distributed. With fewer than five samples there are none.
func medianBounds(sorted []float64) (low, high float64, ok bool) {
	slices.Sort(sorted)
	n := len(sorted)
	// The probability that at most k of n are below the median.
	chance, term := 0.0, math.Pow(0.5, float64(n))
	beyond := 0
	for k := range n {
		if chance += term; chance > 0.05 {
			break
		}
		beyond = k + 1
		term *= float64(n-k) / float64(k+1)
	}
	if beyond == 0 {
		return 0, 0, false
	}
	return sorted[beyond-1], sorted[n-beyond], true
}
