package pairpath

import (
	"cmp"
	"math"
	"slices"
)

// Wire is the time that packets are between two nodes: from the first node's last hook to the other's first one. The nodes' clocks are not
// trusted: out and back together both are subtracted, and cancel. Of each way alone their difference is estimated from the least times both
// ways, which both are above zero: so it is known up to half of their sum.
type Wire struct {
	From string `json:"from"` // node
	To   string `json:"to"`
	// Joined are the packets that both nodes followed, Followed those that the leaving node did, from the first of these to the last: the
	// nodes do not begin at the same time. Both ways together.
	Joined   int `json:"joined"`
	Followed int `json:"followed"`
	// RoundTrip is the p50 of out and back together, of packets that followed each other closely; null if none came back.
	RoundTrip            *float64 `json:"round_trip_seconds"`
	RoundTripP99         *float64 `json:"round_trip_p99_seconds"`
	RoundTripUncertainty *float64 `json:"round_trip_uncertainty_seconds"`
	// Forward and Back are p50s of each way alone; null without RoundTrip.
	Forward     *float64 `json:"forward_seconds"`
	Back        *float64 `json:"back_seconds"`
	Uncertainty *float64 `json:"uncertainty_seconds"` // of either
}

const (
	// maxSkew is how much faster one clock may run than another. Quartz differs by less, and who sets them by less again.
	maxSkew = 100e-6
	// maxApart is how far apart, in seconds, a packet and one that goes back may be, for their times to be added.
	maxApart = 1.0
)

// transit is one packet's time from node to node, as the two clocks have it.
type transit struct {
	at   float64 // by the clock of the node that asks there: seconds
	took float64 // with the difference of the clocks
}

// wireBetween finds the packets that went from one node to another and back; nil if it finds none.
func wireBetween(from, to string, there, back [2]Way) *Wire {
	out, sent := transits(there[0].Left, there[1].Came, false)
	home, answered := transits(back[1].Left, back[0].Came, true)
	if len(out)+len(home) == 0 {
		return nil
	}
	w := &Wire{From: from, To: to, Joined: len(out) + len(home), Followed: sent + answered}
	sums, gaps := roundTrips(out, home)
	if len(sums) == 0 {
		return w
	}
	w.RoundTrip, w.RoundTripP99 = new(quantile(sums, 0.5)), new(quantile(sums, 0.99))
	w.RoundTripUncertainty = new(maxSkew * quantile(gaps, 0.99))
	w.eachWay(out, home)
	return w
}

// transits joins what left one node with what came to the other. A packet whose number is there twice, as that of one sent again, is not
// joined. byArrival has it at the time when it came, by that node's clock, else when it left, by the other's. followed are those that left from
// the first that was joined to the last.
func transits(left, came []Crossing, byArrival bool) (out []transit, followed int) {
	arrivals := single(came)
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for packet, leaves := range single(left) {
		arrives, ok := arrivals[packet]
		if leaves == nil || !ok || arrives == nil {
			continue
		}
		first, last = min(first, *leaves), max(last, *leaves)
		at := *leaves
		if byArrival {
			at = *arrives
		}
		out = append(out, transit{at: float64(at) / 1e9, took: float64(*arrives-*leaves) / 1e9})
	}
	slices.SortFunc(out, func(x, y transit) int { return cmp.Compare(x.at, y.at) })
	for _, c := range left {
		if first <= c.At && c.At <= last {
			followed++
		}
	}
	return out, followed
}

// single are the packets by their number; nil for a number that is there twice.
func single(all []Crossing) map[uint64]*int64 {
	m := make(map[uint64]*int64, len(all))
	for i := range all {
		if _, twice := m[all[i].Packet]; twice {
			m[all[i].Packet] = nil
		} else {
			m[all[i].Packet] = &all[i].At
		}
	}
	return m
}

// roundTrips adds to each packet's time that of the one the other way that is nearest in time, and tells how far apart they were.
func roundTrips(out, home []transit) (sums, gaps []float64) {
	j := 0
	for _, o := range out {
		for j+1 < len(home) && math.Abs(home[j+1].at-o.at) <= math.Abs(home[j].at-o.at) {
			j++
		}
		if j < len(home) {
			if gap := math.Abs(home[j].at - o.at); gap <= maxApart {
				sums, gaps = append(sums, o.took+home[j].took), append(gaps, gap)
			}
		}
	}
	return sums, gaps
}

// eachWay estimates the clocks' difference second by second, as they drift: in each the least time out and the least time back.
func (w *Wire) eachWay(out, home []transit) {
	type leasts struct{ out, home *transit }
	seconds := map[int64]*leasts{}
	note := func(all []transit, of func(*leasts) **transit) {
		for i := range all {
			second := int64(math.Floor(all[i].at))
			if seconds[second] == nil {
				seconds[second] = &leasts{}
			}
			if least := of(seconds[second]); *least == nil || all[i].took < (*least).took {
				*least = &all[i]
			}
		}
	}
	note(out, func(l *leasts) **transit { return &l.out })
	note(home, func(l *leasts) **transit { return &l.home })
	var forward, back, doubts []float64
	take := func(all []transit, sign float64) (took []float64) {
		for _, t := range all {
			if l := seconds[int64(math.Floor(t.at))]; l.out != nil && l.home != nil {
				took = append(took, t.took-sign*(l.out.took-l.home.took)/2)
			}
		}
		return took
	}
	forward, back = take(out, 1), take(home, -1)
	for _, l := range seconds {
		if l.out != nil && l.home != nil {
			// The drift: between the two that were the least, and from there to the others of that second.
			doubts = append(doubts, (l.out.took+l.home.took)/2+maxSkew*(math.Abs(l.out.at-l.home.at)+0.5))
		}
	}
	if len(doubts) > 0 {
		w.Forward, w.Back, w.Uncertainty = new(quantile(forward, 0.5)), new(quantile(back, 0.5)), new(slices.Max(doubts))
	}
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
