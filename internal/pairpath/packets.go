package pairpath

import (
	"cmp"
	"errors"
	"slices"

	"tracer/internal/trace"
)

// Packets are single packets between two ends, over the nodes that saw them. As JSON, what is absent is null. Times are in seconds.
type Packets struct {
	SchemaVersion int     `json:"schema_version"`
	Src           End     `json:"src"`
	Dst           End     `json:"dst"`
	WindowSeconds float64 `json:"window_seconds"`
	// Packets are those that were chosen: seen on both nodes before others, and of these the slowest first.
	Packets []Packet `json:"packets"`
	Joined  int      `json:"joined"` // how many were seen on both nodes, of those that agents sent one by one
	Nodes   []Node   `json:"nodes"`
}

// Packet is one packet.
type Packet struct {
	Way  string `json:"way"`  // there or back
	Legs []Leg  `json:"legs"` // in the order in which it passed nodes
	// Wire is the time between the legs, and how far off that may be; null without two legs, or where the clocks cannot be compared.
	Wire            *float64 `json:"wire_seconds"`
	WireUncertainty *float64 `json:"wire_uncertainty_seconds"`
	TotalSeconds    float64  `json:"total_seconds"` // of what is known
}

// Leg is a packet's way through a node.
type Leg struct {
	Node  string      `json:"node"`
	Trace trace.Trace `json:"trace"`
}

// Lost tells whether the packet was.
func (p *Packet) Lost() bool {
	return slices.ContainsFunc(p.Legs, func(l Leg) bool { return l.Trace.Drop != nil && l.Trace.Drop.Loss })
}

// Choice is which packets are wanted.
type Choice struct {
	Most      int     // how many
	Way       string  // there or back; "" for both
	Seconds   float64 // at least so long
	DropsOnly bool
}

// errOld is of an agent that answers without single packets.
var errOld = errors.New("its agent is older than this and shows no single packets")

// JoinPackets makes packets of what the nodes saw of each.
func JoinPackets(src, dst End, answers []Answer, choice Choice) Packets {
	for i := range answers {
		if h := answers[i].Half; h != nil && h.Journeys == nil {
			answers[i] = Answer{Node: answers[i].Node, Err: errOld}
		}
	}
	path := Join(src, dst, slices.Clone(answers))
	out := Packets{SchemaVersion: SchemaVersion, Src: src, Dst: dst, WindowSeconds: path.WindowSeconds, Nodes: path.Nodes, Packets: []Packet{}}
	times := map[crossed]timed{}
	for i, a := range answers {
		for j, b := range answers {
			if i != j && a.Half != nil && b.Half != nil {
				timesBetween(times, &a, &b)
			}
		}
	}
	var all []Packet
	for _, name := range []string{There, Back} {
		all = append(all, packetsOf(name, answers, times)...)
	}
	for i := range all {
		if len(all[i].Legs) > 1 {
			out.Joined++
		}
	}
	all = slices.DeleteFunc(all, func(p Packet) bool {
		return choice.Way != "" && p.Way != choice.Way || p.TotalSeconds < choice.Seconds || choice.DropsOnly && !p.Lost()
	})
	slices.SortStableFunc(all, func(x, y Packet) int {
		return cmp.Or(cmp.Compare(len(y.Legs), len(x.Legs)), cmp.Compare(y.TotalSeconds, x.TotalSeconds))
	})
	out.Packets = append(out.Packets, all[:min(choice.Most, len(all))]...)
	return out
}

// crossed is a packet on its way between two nodes.
type crossed struct {
	from, to string
	packet   uint64
}

type timed struct{ seconds, doubt float64 }

// timesBetween adds how long each packet was between two nodes, there from the first to the second, and back.
func timesBetween(times map[crossed]timed, a, b *Answer) {
	out, _ := transits(&a.Half.There, &b.Half.There, false)
	home, _ := transits(&b.Half.Back, &a.Half.Back, true)
	out, home = consistent(out, home)
	if len(out) == 0 || len(home) == 0 {
		return
	}
	drift := driftBetween(out, home)
	clocks := ahead(out, home, out, drift)
	for i, t := range out {
		times[crossed{a.Node, b.Node, t.packet}] = timed{max(0, t.took-clocks.values[i]), clocks.doubts[i]}
	}
	clocks = ahead(out, home, home, drift)
	for i, t := range home {
		times[crossed{b.Node, a.Node, t.packet}] = timed{max(0, t.took+clocks.values[i]), clocks.doubts[i]}
	}
}

// packetsOf makes packets of one way's journeys: those that left a node and came to another, by their number; and the others as they are.
func packetsOf(way string, answers []Answer, times map[crossed]timed) (all []Packet) {
	type seen struct {
		node string
		j    *Journey
		n    int // how many have the number
	}
	came := map[uint64]*seen{}
	left := map[uint64]int{}
	each := func(side string, do func(node string, j *Journey)) {
		for i := range answers {
			if answers[i].Half == nil {
				continue
			}
			for k := range answers[i].Half.Journeys {
				if j := &answers[i].Half.Journeys[k]; j.Way == way && j.Side == side {
					do(answers[i].Node, j)
				}
			}
		}
	}
	each(Came, func(node string, j *Journey) {
		if came[j.Packet] == nil {
			came[j.Packet] = &seen{node: node, j: j}
		}
		came[j.Packet].n++
	})
	each(Left, func(_ string, j *Journey) { left[j.Packet]++ })
	joined := map[uint64]bool{}
	each(Left, func(node string, j *Journey) {
		p := Packet{Way: way, Legs: []Leg{{node, j.Trace}}, TotalSeconds: j.Trace.TotalSeconds}
		if c := came[j.Packet]; c != nil && c.n == 1 && left[j.Packet] == 1 && c.node != node {
			joined[j.Packet] = true
			p.Legs = append(p.Legs, Leg{c.node, c.j.Trace})
			p.TotalSeconds += c.j.Trace.TotalSeconds
			if t, known := times[crossed{node, c.node, j.Packet}]; known {
				p.Wire, p.WireUncertainty = &t.seconds, &t.doubt
				p.TotalSeconds += t.seconds
			}
		}
		all = append(all, p)
	})
	alone := func(node string, j *Journey) {
		if !joined[j.Packet] {
			all = append(all, Packet{Way: way, Legs: []Leg{{node, j.Trace}}, TotalSeconds: j.Trace.TotalSeconds})
		}
	}
	each(Came, alone)
	each(Lost, alone)
	return all
}
