package pairpath

import (
	"math"
	"slices"
)

const (
	// usualDrift is how much faster one node's clock may run than another's at least, whatever is measured: quartz differs by less.
	usualDrift = 100e-6
	// maxDrift is the most that is believed: ntpd and adjtime(3) set a clock by no more.
	maxDrift = 500e-6
	// maxApart is how far apart, in seconds, a packet and one that goes back may be, for their times to be added.
	maxApart = 1.0
)

// transit is one packet's time from node to node, as the two clocks have it.
type transit struct {
	at   float64 // by the clock of the node that asks there: seconds
	took float64 // with the difference of the clocks: added on the way out, subtracted on the way home
	// hidden are the devices where it left and came, where these hide packets.
	hidden [2]string
}

// leasts are, at the time of each of some, the least that others the other way took, and what the clocks may have drifted between. Both are
// in the order of time.
func leasts(others, at []transit, drift float64) []float64 {
	out := make([]float64, len(at))
	least, when, j := math.Inf(1), 0.0, 0
	for i := range at {
		for ; j < len(others) && others[j].at <= at[i].at; j++ {
			if o := others[j]; o.took <= least+drift*(o.at-when) {
				least, when = o.took, o.at
			}
		}
		out[i] = least + drift*(at[i].at-when)
	}
	least, when, j = math.Inf(1), 0, len(others)-1
	for i := range slices.Backward(at) {
		for ; j >= 0 && others[j].at >= at[i].at; j-- {
			if o := others[j]; o.took <= least+drift*(when-o.at) {
				least, when = o.took, o.at
			}
		}
		out[i] = min(out[i], least+drift*(when-at[i].at))
	}
	return out
}

// contradicted tells whether the clocks, if they drift by no more than that, show that some packets arrived before they left.
func contradicted(out, home []transit, drift float64) bool {
	for i, least := range leasts(home, out, drift) {
		if out[i].took+least < 0 {
			return true
		}
	}
	return false
}

// consistent leaves out packets that were joined with others: those that contradict most that went the other way, and then whatever still
// contradicts another.
func consistent(out, home []transit) (keptOut, keptHome []transit) {
	without := func(all, others []transit, share float64) (kept []transit) {
		for i, least := range leasts(others, all, maxDrift) {
			against := 0
			if all[i].took+least < 0 {
				for _, o := range others {
					if all[i].took+o.took < -maxDrift*math.Abs(all[i].at-o.at) {
						against++
					}
				}
			}
			if float64(against) <= share*float64(len(others)) {
				kept = append(kept, all[i])
			}
		}
		return kept
	}
	out, home = without(out, home, 0.5), without(home, out, 0.5)
	return without(out, home, 0), without(home, out, 0)
}

// driftBetween is by how much one clock may run faster than the other: as measured from second to second, in the bounds of what is usual
// and what is believed.
func driftBetween(out, home []transit) float64 {
	drift := usualDrift
	type pair struct{ out, home *transit }
	seconds := map[int64]*pair{}
	note := func(all []transit, of func(*pair) **transit) {
		for i := range all {
			second := int64(math.Floor(all[i].at))
			if seconds[second] == nil {
				seconds[second] = &pair{}
			}
			if least := of(seconds[second]); *least == nil || all[i].took < (*least).took {
				*least = &all[i]
			}
		}
	}
	note(out, func(l *pair) **transit { return &l.out })
	note(home, func(l *pair) **transit { return &l.home })
	for second, l := range seconds {
		next := seconds[second+1]
		if next == nil || l.out == nil || l.home == nil || next.out == nil || next.home == nil {
			continue
		}
		differ := (next.out.took - next.home.took - l.out.took + l.home.took) / 2
		if apart := (next.out.at + next.home.at - l.out.at - l.home.at) / 2; apart > 0.1 {
			drift = max(drift, math.Abs(differ)/apart)
		}
	}
	if drift > maxDrift || contradicted(out, home, drift) {
		return maxDrift
	}
	return drift
}

// ahead is by how much the other node's clock is ahead when each of some packets was, and how far from that it may be: packets take no time
// less than zero, so it is at most what any took on its way out, and at least what any took on its way home, negated. at is in the order of time.
func ahead(out, home, at []transit, drift float64) (all measured) {
	most, fewest := leasts(out, at, drift), leasts(home, at, drift)
	for i := range at {
		all.add((most[i]-fewest[i])/2, max(0, (most[i]+fewest[i])/2))
	}
	return all
}

// measured are times, each of which may be off by its doubt.
type measured struct{ values, doubts []float64 }

func (m *measured) add(value, doubt float64) {
	m.values, m.doubts = append(m.values, value), append(m.doubts, doubt)
}

func (m *measured) mean() float64 {
	var sum float64
	for _, v := range m.values {
		sum += v
	}
	return sum / float64(len(m.values))
}

// median is the p50, and how far off it may be, if all are as far off to one side as they may be.
func (m *measured) median() (value, doubt float64) {
	high, low := make([]float64, len(m.values)), make([]float64, len(m.values))
	for i, v := range m.values {
		high[i], low[i] = v+m.doubts[i], v-m.doubts[i]
	}
	value = quantile(m.values, 0.5)
	return value, max(quantile(high, 0.5)-value, value-quantile(low, 0.5))
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
