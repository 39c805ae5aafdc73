package main

import "slices"

// quartiles are the three values that cut samples into four parts of the same size.
type quartiles struct{ low, median, high float64 }

// spread is the width of the middle half.
func (q quartiles) spread() float64 { return q.high - q.low }

// quartilesOf sorts samples, of which there must be at least one.
func quartilesOf(samples []float64) quartiles {
	slices.Sort(samples)
	at := func(q float64) float64 {
		position := q * float64(len(samples)-1)
		i := int(position)
		if i == len(samples)-1 {
			return samples[i]
		}
		return samples[i] + (position-float64(i))*(samples[i+1]-samples[i])
	}
	return quartiles{at(0.25), at(0.5), at(0.75)}
}
