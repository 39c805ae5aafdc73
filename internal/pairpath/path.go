package pairpath

import (
	"fmt"
	"slices"
	"strings"

	"tracer/internal/format"
	"tracer/internal/journey"
)

// SchemaVersion is that of Path as JSON. Fields may be added under the same version.
const SchemaVersion = 1

// Path is how packets fare from one end to another and back. As JSON, what is absent is null. Times are in seconds.
type Path struct {
	SchemaVersion int     `json:"schema_version"`
	Src           End     `json:"src"`
	Dst           End     `json:"dst"`
	WindowSeconds float64 `json:"window_seconds"`
	Summary       string  `json:"summary"`
	Hops          []Hop   `json:"hops"`  // there, then back, in the order in which packets meet them
	Wire          *Wire   `json:"wire"`  // the first of Wires; null if no packet was seen on both nodes
	Wires         []Wire  `json:"wires"` // between each two nodes, the one with most packets first
	Nodes         []Node  `json:"nodes"`
}

// End is one end of it, as who asks named it.
type End struct {
	Name  string   `json:"name"`
	Nodes []string `json:"nodes"` // where it is, as far as that is known
	// OnHost are nodes whose own address it has though it is a pod: all that the node sends is taken for its packets. Null if there are none.
	OnHost []string `json:"on_host"`
	// Unknown tells that it may be on a node all the same, where Nodes is empty.
	Unknown bool `json:"unknown"`
}

// The ways of a Hop.
const (
	There = "there"
	Back  = "back"
)

// Wired is the stage of a Hop that is between two nodes.
const Wired journey.Stage = "wire"

// Hop is a stage at a device of a node, or what is between two nodes, with the devices whose work is part of that.
type Hop struct {
	Way     string            `json:"way"` // there or back
	Node    string            `json:"node"`
	Stage   journey.Stage     `json:"stage"`
	Device  string            `json:"device"`
	Dir     journey.Direction `json:"direction"`
	Packets uint64            `json:"packets"`
	P50     *float64          `json:"p50_seconds"`
	P99     *float64          `json:"p99_seconds"`
	Usual   *float64          `json:"usual_p50_seconds"`
	Share   float64           `json:"share"` // of the time of all packets of the way together
	NoQueue bool              `json:"no_queue"`
	Drops   uint64            `json:"drops"`
	Reason  string            `json:"reason"` // of most drops
	Held    float64           `json:"held"`   // inside at the window's end
	Oldest  float64           `json:"oldest_seconds"`
	// Uncertainty of the wire's P50; null of all else.
	Uncertainty *float64 `json:"uncertainty_seconds"`

	sum  float64 // seconds of all packets together, waiting included
	each float64 // of that, a packet's
}

// Node is one node's part.
type Node struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"` // both ways
	Missed  uint64 `json:"missed"`  // records that its agent lost
	Left    uint64 `json:"left"`    // sk_buffs of one segment that it followed until they left it for another node, both ways
	Came    uint64 `json:"came"`    // likewise, that came from another
	Error   string `json:"error"`   // why it did not answer; "" if it did
}

// Answer is a node's.
type Answer struct {
	Node string
	Half *Half
	Err  error // why there is none
}

// Join makes one path of what the nodes saw.
func Join(src, dst End, answers []Answer) Path {
	p := Path{SchemaVersion: SchemaVersion, Src: src, Dst: dst, Hops: []Hop{}, Wires: []Wire{}, Nodes: []Node{}}
	// In the order of the way there: the source's nodes first.
	slices.SortStableFunc(answers, func(x, y Answer) int { return rank(src.Nodes, x.Node) - rank(src.Nodes, y.Node) })
	for _, a := range answers {
		n := Node{Name: a.Node}
		if a.Half == nil {
			n.Error = a.Err.Error()
		} else {
			n.Packets, n.Missed = a.Half.There.Packets+a.Half.Back.Packets, a.Half.Missed
			n.Left, n.Came = a.Half.There.LeftTotal+a.Half.Back.LeftTotal, a.Half.There.CameTotal+a.Half.Back.CameTotal
			p.WindowSeconds = max(p.WindowSeconds, a.Half.WindowSeconds)
		}
		p.Nodes = append(p.Nodes, n)
	}
	p.Wires = wires(answers)
	if len(p.Wires) > 0 {
		p.Wire = &p.Wires[0]
	}
	p.Hops = append(p.Hops, p.way(There, answers, func(h *Half) *Way { return &h.There })...)
	slices.Reverse(answers)
	p.Hops = append(p.Hops, p.way(Back, answers, func(h *Half) *Way { return &h.Back })...)
	p.Summary = p.summarize()
	return p
}

func rank(first []string, node string) int {
	if slices.Contains(first, node) {
		return 0
	}
	return 1
}

// wires are what is between each two of the nodes.
func wires(answers []Answer) []Wire {
	out := []Wire{}
	for i, a := range answers {
		for j, b := range answers {
			if i == j || a.Half == nil || b.Half == nil {
				continue
			}
			if w := wireBetween(a.Node, b.Node, [2]Way{a.Half.There, b.Half.There}, [2]Way{a.Half.Back, b.Half.Back}); w != nil {
				out = append(out, *w)
			}
		}
	}
	slices.SortStableFunc(out, func(x, y Wire) int { return y.Joined - x.Joined })
	return out
}

// way lists one way's hops: on this node alone, out of the nodes where it begins, over the wire, into those where it ends.
func (p *Path) way(name string, answers []Answer, of func(*Half) *Way) (hops []Hop) {
	add := func(directions ...journey.Direction) {
		for _, a := range answers {
			if a.Half == nil {
				continue
			}
			w := of(a.Half)
			for i := range w.Stages {
				if s := &w.Stages[i]; slices.Contains(directions, s.Direction) {
					hops = append(hops, newHop(name, a.Node, s))
				}
			}
		}
	}
	add(journey.Local, journey.Out)
	for i := range p.Wires {
		w := &p.Wires[i]
		h := Hop{Way: name, Node: w.From + " → " + w.To, Stage: Wired, Device: strings.Join(w.Hidden, ","), P50: w.Forward, Uncertainty: w.Uncertainty, each: w.out.mean, sum: w.out.sum()}
		if name == Back {
			h.Node, h.P50, h.each, h.sum = w.To+" → "+w.From, w.Back, w.home.mean, w.home.sum()
		}
		hops = append(hops, h)
	}
	add(journey.In)
	add("") // drops of which not even the direction is known
	var all float64
	for i := range hops {
		all += hops[i].sum
	}
	for i := range hops {
		if all > 0 {
			hops[i].Share = hops[i].sum / all
		}
	}
	return hops
}

func newHop(way, node string, s *Stage) Hop {
	h := Hop{
		Way: way, Node: node, Stage: s.Stage, Device: s.Device, Dir: s.Direction, Packets: s.Packets, P50: s.P50, P99: s.P99, Usual: s.Usual,
		NoQueue: s.NoQueue, Drops: s.Lost, Reason: s.Reason, Held: s.InFlight, Oldest: s.Oldest, sum: s.Sum,
	}
	if n := float64(s.Packets) + s.InFlight; n > 0 {
		h.each = s.Sum / n
	}
	return h
}

// Packets are how many were seen, on all nodes.
func (p *Path) Packets() (n uint64) {
	for i := range p.Nodes {
		n += p.Nodes[i].Packets
	}
	return n
}

// seen tells whether any packet was, be it one that has not come out.
func (p *Path) seen() bool {
	return p.Packets() > 0 || slices.ContainsFunc(p.Hops, func(h Hop) bool { return h.Held > 0 || h.Drops > 0 })
}

// ExitCode is 0, 1 if no node answered, 3 if no packet was seen.
func (p *Path) ExitCode() int {
	switch {
	case p.answered() == 0:
		return 1
	case !p.seen():
		return 3
	}
	return 0
}

// answered is how many nodes did.
func (p *Path) answered() (n int) {
	for i := range p.Nodes {
		if p.Nodes[i].Error == "" {
			n++
		}
	}
	return n
}

// summarize says where packets are lost, and where most of the time goes.
func (p *Path) summarize() string {
	if p.answered() == 0 {
		return "no agent answered"
	}
	var lost, slow *Hop
	for i := range p.Hops {
		h := &p.Hops[i]
		if h.Drops > 0 && (lost == nil || h.Drops > lost.Drops) {
			lost = h
		}
		if h.sum > 0 && (slow == nil || h.sum > slow.sum) {
			slow = h
		}
	}
	var said []string
	if lost != nil {
		said = append(said, fmt.Sprintf("%s %s lost on the way %s in %s", format.Counted(fmt.Sprint(lost.Drops), "packet"), isAre(lost.Drops), lost.Way, lost.where()))
	}
	if slow != nil {
		said = append(said, fmt.Sprintf("%.0f %% of the time %s is spent in %s: %s", 100*slow.Share, slow.Way, slow.where(), seconds(slow.each)))
	}
	for i := range p.Nodes {
		if n := &p.Nodes[i]; n.Error != "" {
			said = append(said, n.Name+" did not answer")
		}
	}
	if !p.seen() {
		said = append([]string{"no packet between them was seen"}, said...)
	}
	return strings.Join(said, "; ")
}

func isAre(n uint64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// where is a hop in words.
func (h *Hop) where() string {
	switch {
	case h.Stage == Wired && h.Device != "":
		return fmt.Sprintf("%s or the wire between %s", h.Device, h.Node)
	case h.Stage == Wired:
		return "the wire between " + h.Node
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s on %s", h.Stage, h.Device, h.Node)), " ")
}
