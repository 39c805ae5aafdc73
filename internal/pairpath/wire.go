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
	// Joined are the packets that both nodes followed, less what must be two packets that were taken for one, as they arrive there and back
	// before they leave. Followed are those that the leaving node did and that the other may have: between addresses of which it saw packets,
	// from the first that was joined to the last, as the nodes do not begin at the same time, and of the numbers that it kept. Where either
	// samples they are those that are joined, and those followed by chance that the other had to follow too. Both ways together.
	Joined   int `json:"joined"`
	Followed int `json:"followed"`
	// Merged are those of Followed that GRO has put into larger ones where they came, as far as that is certain: by their sequence numbers, so
	// of TCP alone. The last one of a larger one may be missing.
	Merged int `json:"merged"`
	// Large are packets of several segments that left and are in neither: on the other node they are others.
	Large uint64 `json:"large"`
	// RoundTrip is the p50 of out and back together, of packets that followed each other closely; null if none came back.
	RoundTrip            *float64 `json:"round_trip_seconds"`
	RoundTripP99         *float64 `json:"round_trip_p99_seconds"`
	RoundTripUncertainty *float64 `json:"round_trip_uncertainty_seconds"`
	// Forward and Back are p50s of each way alone; null without RoundTrip.
	Forward     *float64 `json:"forward_seconds"`
	Back        *float64 `json:"back_seconds"`
	Uncertainty *float64 `json:"uncertainty_seconds"` // of either
	// Hidden are devices whose own work is part of it, as packets were not seen behind them; null if there are none.
	Hidden []string `json:"hidden_by"`

	out, home passage
}

// passage is how packets pass a wire one way.
type passage struct {
	packets float64 // as far as is known, weighted
	mean    float64 // seconds; 0 if not known
}

func (p *passage) sum() float64 { return p.packets * p.mean }

// packetsTo is how many of the packets that left a node went to another: those between addresses of which that one saw packets.
func packetsTo(from, to *Way) float64 {
	if len(from.Left) == 0 {
		return 0
	}
	ends, theirs := map[uint32]bool{}, 0
	for _, c := range to.Came {
		ends[c.Ends] = true
	}
	for _, c := range from.Left {
		if ends[c.Ends] {
			theirs++
		}
	}
	return float64(max(from.Crossed, from.LeftTotal)) * float64(theirs) / float64(len(from.Left))
}

// wireBetween finds the packets that went from one node to another and back; nil if it finds none.
func wireBetween(from, to string, there, back [2]Way) *Wire {
	out, sent := transits(&there[0], &there[1], false)
	home, answered := transits(&back[1], &back[0], true)
	out, home = consistent(out, home)
	if len(out)+len(home) == 0 {
		return nil
	}
	w := &Wire{
		From: from, To: to, Joined: len(out) + len(home), Followed: sent.packets + answered.packets, Merged: sent.merged + answered.merged,
		Large: there[0].Large + back[1].Large,
	}
	w.out.packets, w.home.packets = packetsTo(&there[0], &there[1]), packetsTo(&back[1], &back[0])
	for _, t := range slices.Concat(out, home) {
		for _, device := range t.hidden {
			if device != "" && !slices.Contains(w.Hidden, device) {
				w.Hidden = append(w.Hidden, device)
			}
		}
	}
	slices.Sort(w.Hidden)
	w.measure(out, home)
	return w
}

// transits joins what left one node with what came to the other. A packet whose number is there twice, as that of one sent again, is not
// joined. byArrival has it at the time when it came, by that node's clock, else when it left, by the other's.
func transits(from, to *Way, byArrival bool) (out []transit, of followed) {
	left, came := from.Left, to.Came
	arrivals := single(came)
	departed, arrived := newSpan(), newSpan()
	joined := map[uint64]bool{}
	for packet, leaves := range single(left) {
		arrives, ok := arrivals[packet]
		if leaves == nil || !ok || arrives == nil {
			continue
		}
		departed.add(leaves.At)
		arrived.add(arrives.At)
		joined[packet] = true
		at := leaves.At
		if byArrival {
			at = arrives.At
		}
		out = append(out, transit{packet: packet, at: float64(at) / 1e9, took: float64(arrives.At-leaves.At) / 1e9, hidden: [2]string{leaves.Hidden, arrives.Hidden}})
	}
	slices.SortFunc(out, func(x, y transit) int { return cmp.Compare(x.at, y.at) })
	here, there := usualOneIn(left), usualOneIn(came)
	if here >= there {
		e := expectation{joined: joined, during: departed, ends: endsOf(came), kept: greatestKept(came, to.CameTotal), oneIn: there}
		return out, e.of(left, mergedByFlow(to.Merged))
	}
	// The node that they left follows more than the other, which need not: what that one followed it should have.
	e := expectation{joined: joined, during: arrived, ends: endsOf(left), kept: greatestKept(left, from.LeftTotal), oneIn: here}
	return out, e.of(came, nil)
}

// single are the packets by their number; nil for a number that is there twice.
func single(all []Crossing) map[uint64]*Crossing {
	m := make(map[uint64]*Crossing, len(all))
	for i := range all {
		if _, twice := m[all[i].Packet]; twice {
			m[all[i].Packet] = nil
		} else {
			m[all[i].Packet] = &all[i]
		}
	}
	return m
}

// measure sets the times. out and home are in the order of time and do not contradict each other.
func (w *Wire) measure(out, home []transit) {
	drift := driftBetween(out, home)
	var sums, forward, back measured
	for i, h := range nearest(out, home) {
		if gap := math.Abs(h.at - out[i].at); gap <= maxApart {
			sums.add(max(0, out[i].took+h.took), drift*gap)
		}
	}
	if len(sums.values) == 0 {
		return
	}
	clocks := ahead(out, home, out, drift)
	for i, t := range out {
		forward.add(t.took-clocks.values[i], clocks.doubts[i])
	}
	clocks = ahead(out, home, home, drift)
	for i, t := range home {
		back.add(t.took+clocks.values[i], clocks.doubts[i])
	}
	value, doubt := sums.median()
	w.RoundTrip, w.RoundTripUncertainty, w.RoundTripP99 = &value, &doubt, new(quantile(sums.values, 0.99))
	there, thereDoubt := forward.median()
	andBack, backDoubt := back.median()
	w.out.mean, w.home.mean = forward.mean(), back.mean()
	w.Forward, w.Back, w.Uncertainty = &there, &andBack, new(max(thereDoubt, backDoubt))
}

// nearest are, of each packet out, the one home that is nearest in time; none if there is none home at all.
func nearest(out, home []transit) (found []transit) {
	j := 0
	for _, o := range out {
		for j+1 < len(home) && math.Abs(home[j+1].at-o.at) <= math.Abs(home[j].at-o.at) {
			j++
		}
		if j < len(home) {
			found = append(found, home[j])
		}
	}
	return found
}
