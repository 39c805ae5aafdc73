package main

import (
	"math"
	"time"
)

// series are the values of one quantity over time.
type series struct {
	at     []time.Duration // since the run began
	values []float64
}

func (s *series) add(at time.Duration, v float64) {
	s.at, s.values = append(s.at, at), append(s.values, v)
}

// since is what was measured from a time on.
func (s *series) since(from time.Duration) *series {
	var late series
	for i, at := range s.at {
		if at >= from {
			late.add(at, s.values[i])
		}
	}
	return &late
}

// line is a straight line through a series, by least squares.
type line struct {
	mean, low, high float64
	growth          float64 // by the line, from the first value to the last
	// least is the lower end of the growth's confidence interval (95 %): what rose for sure.
	least float64
}

// blocks are what a series is averaged to before a line is laid through it: values that follow on each other are not
// independent (a heap grows until it is collected), means of longer times nearly are.
const blocks = 12

// student is the 97.5 % quantile of Student's distribution, of blocks-2 degrees of freedom.
const student = 2.228

// fit lays a line through a series of at least blocks values.
func (s *series) fit() line {
	l := line{low: math.Inf(1), high: math.Inf(-1)}
	n := len(s.values)
	var x, y [blocks]float64
	for b := range blocks {
		from, to := b*n/blocks, (b+1)*n/blocks
		for i := from; i < to; i++ {
			x[b] += s.at[i].Seconds() / float64(to-from)
			y[b] += s.values[i] / float64(to-from)
		}
	}
	for _, v := range s.values {
		l.mean += v / float64(n)
		l.low, l.high = min(l.low, v), max(l.high, v)
	}
	var meanX, meanY, sxx, sxy, rest float64
	for b := range blocks {
		meanX += x[b] / blocks
		meanY += y[b] / blocks
	}
	for b := range blocks {
		sxx += (x[b] - meanX) * (x[b] - meanX)
		sxy += (x[b] - meanX) * (y[b] - meanY)
	}
	slope := sxy / sxx
	for b := range blocks {
		off := y[b] - meanY - slope*(x[b]-meanX)
		rest += off * off
	}
	span := (s.at[n-1] - s.at[0]).Seconds()
	l.growth = slope * span
	l.least = l.growth - student*math.Sqrt(rest/(blocks-2)/sxx)*span
	return l
}
