package netdev

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Qdisc is a queueing discipline or a class of one, with what hangs under it. Fields that a kind does not have
// are zero.
type Qdisc struct {
	Kind   string `json:"kind"`             // "htb", "netem", "fq_codel", "noqueue" …
	Class  bool   `json:"class,omitempty"`  // a class of the qdisc above it
	Handle string `json:"handle,omitempty"` // as tc prints it: "10:", "10:1"

	Delay     time.Duration `json:"delay,omitempty"`      // netem's, mean
	Jitter    time.Duration `json:"jitter,omitempty"`     // netem's
	Loss      float64       `json:"loss,omitempty"`       // netem's, 0 to 1
	Duplicate float64       `json:"duplicate,omitempty"`  // netem's, 0 to 1
	Corrupt   float64       `json:"corrupt,omitempty"`    // netem's, 0 to 1
	RateBits  uint64        `json:"rate_bits,omitempty"`  // bits/s: tbf, netem, htb class
	CeilBits  uint64        `json:"ceil_bits,omitempty"`  // bits/s: htb class
	Burst     uint64        `json:"burst,omitempty"`      // bytes: tbf, htb class
	Limit     uint64        `json:"limit,omitempty"`      // what the queue holds at most, in LimitUnit
	LimitUnit string        `json:"limit_unit,omitempty"` // "packets" or "bytes"
	Target    time.Duration `json:"target,omitempty"`     // codel's and fq_codel's aim
	Interval  time.Duration `json:"interval,omitempty"`   // codel's and fq_codel's
	Flows     uint32        `json:"flows,omitempty"`      // fq_codel's
	Default   uint32        `json:"default,omitempty"`    // htb's default class

	Packets        uint64 `json:"packets"` // sent since it was made, in segments
	Bytes          uint64 `json:"bytes"`
	Drops          uint64 `json:"drops"` // sk_buffs dropped since it was made
	Overlimits     uint64 `json:"overlimits"`
	Requeues       uint64 `json:"requeues"`
	BacklogBytes   uint64 `json:"backlog_bytes"`
	BacklogPackets uint64 `json:"backlog_packets"`

	Children []Qdisc `json:"children,omitempty"`
}

// Queues tells whether packets can be held there: not so only where there is no queue at all.
func (q Qdisc) Queues() bool { return q.Kind != "" && q.Kind != "noqueue" }

// Is tells whether it is the same qdisc as another time, whose counters go on: one that was put in its place counts from zero.
func (q Qdisc) Is(other Qdisc) bool { return q.Kind == other.Kind && q.Handle == other.Handle }

// Shaper is the qdisc or class of the tree that holds what passes it to the least rate; false if none does. A netem is no shaper.
func (q Qdisc) Shaper() (shaper Qdisc, ok bool) {
	if q.Kind == "tbf" || q.Kind == "cake" || q.Class && (q.Kind == "htb" || q.Kind == "hfsc") {
		shaper, ok = q, q.RateBits > 0
	}
	for _, child := range q.Children {
		if below, found := child.Shaper(); found && (!ok || below.RateBits < shaper.RateBits) {
			shaper, ok = below, true
		}
	}
	return shaper, ok
}

// ShapedTo is the rate of the Shaper, in bits a second; 0 without one.
func (q Qdisc) ShapedTo() uint64 {
	shaper, ok := q.Shaper()
	if !ok {
		return 0
	}
	return shaper.RateBits
}

// Splits tells whether somewhere in the tree a GSO packet may be split when it is enqueued, so that the sk_buffs
// that come out are not those that went in: tbf_segment, cake_enqueue, and netem_segment before it corrupts.
func (q Qdisc) Splits() bool {
	return q.Kind == "tbf" || q.Kind == "cake" || q.Kind == "netem" && q.Corrupt > 0 ||
		slices.ContainsFunc(q.Children, Qdisc.Splits)
}

// Leaves yields the qdiscs of the tree that hold packets themselves. A class without a qdisc of its own is a leaf where
// its siblings have one: the kernel gives it a hidden fifo (pfifo_qdisc_ops). The classes that fq_codel and its kin list
// are their flows, which the qdisc counts.
func (q Qdisc) Leaves() iter.Seq[Qdisc] {
	return func(yield func(Qdisc) bool) { q.yieldLeaves(yield) }
}

func (q Qdisc) yieldLeaves(yield func(Qdisc) bool) bool {
	if !hasQdisc(q.Children) {
		return yield(q)
	}
	for _, child := range q.Children {
		if !child.yieldLeaves(yield) {
			return false
		}
	}
	return true
}

// hasQdisc tells whether there is a qdisc, not only classes, among nodes or below them.
func hasQdisc(nodes []Qdisc) bool {
	return slices.ContainsFunc(nodes, func(q Qdisc) bool { return !q.Class || hasQdisc(q.Children) })
}

// Total adds up a counter over the tree without counting twice. A parent often counts what its leaves count, and
// sometimes what these do not see, so the larger of the two is right.
func (q Qdisc) Total(counter func(Qdisc) uint64) uint64 {
	var sum uint64
	for leaf := range q.Leaves() {
		sum += counter(leaf)
	}
	return max(sum, counter(q))
}

// String is the whole tree on one line, in the words and units of tc: "htb 10: default 1 / class 10:10 rate 50Kbit
// / netem 100: delay 500ms loss 10%". Several children stand in parentheses; equal ones are counted.
func (q Qdisc) String() string {
	line := q.label()
	if q.Default != 0 {
		line += fmt.Sprintf(" default %x", q.Default)
	}
	var children []string
	for _, child := range q.Children {
		children = append(children, child.String())
	}
	children = countEqual(children)
	switch len(children) {
	case 0:
		return line
	case 1:
		return line + " / " + children[0]
	}
	return line + " / (" + strings.Join(children, ", ") + ")"
}

// Brief is the tree without its classes: "htb 10: with netem 100: delay 500ms loss 10%".
func (q Qdisc) Brief() string {
	below := countEqual(q.below(nil))
	if len(below) == 0 {
		return q.label()
	}
	return q.label() + " with " + strings.Join(below, ", ")
}

// below appends the labels of the qdiscs under q.
func (q Qdisc) below(labels []string) []string {
	for _, child := range q.Children {
		if !child.Class {
			labels = append(labels, child.label())
		}
		labels = child.below(labels)
	}
	return labels
}

// label is one node of the tree with its parameters.
func (q Qdisc) label() string {
	words := []string{q.Kind}
	if q.Class {
		words[0] = "class"
	}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }

	if q.Handle != "" && q.Handle != "0:" { // 0: is what the kernel put there itself
		add("%s", q.Handle)
	}
	if q.Delay != 0 || q.Jitter != 0 {
		add("delay %s", tcTime(q.Delay))
	}
	if q.Jitter != 0 {
		add("%s", tcTime(q.Jitter))
	}
	for _, p := range []struct {
		name     string
		fraction float64
	}{{"loss", q.Loss}, {"duplicate", q.Duplicate}, {"corrupt", q.Corrupt}} {
		if p.fraction != 0 {
			add("%s %s%%", p.name, strconv.FormatFloat(p.fraction*100, 'g', 4, 64))
		}
	}
	if q.RateBits != 0 {
		add("rate %s", tcRate(q.RateBits))
	}
	if q.CeilBits != 0 && q.CeilBits != q.RateBits {
		add("ceil %s", tcRate(q.CeilBits))
	}
	if q.Burst != 0 && !q.Class {
		add("burst %s", tcSize(q.Burst))
	}
	if q.Limit != 0 && !(q.Kind == "netem" && q.Limit == netemLimit) {
		if q.LimitUnit == "bytes" {
			add("limit %s", tcSize(q.Limit))
		} else {
			add("limit %dp", q.Limit)
		}
	}
	if q.Flows != 0 {
		add("flows %d", q.Flows)
	}
	if q.Target != 0 {
		add("target %s", tcTime(q.Target))
	}
	if q.Interval != 0 {
		add("interval %s", tcTime(q.Interval))
	}
	return strings.Join(words, " ")
}

// netemLimit is what tc sets where nothing is said (iproute2 tc/q_netem.c); it says nothing about a fault.
const netemLimit = 1000

// countEqual joins equal neighbours: the queues of an mq differ in nothing but their number.
func countEqual(labels []string) []string {
	var counted []string
	for len(labels) > 0 {
		n := 1
		for n < len(labels) && labels[n] == labels[0] {
			n++
		}
		if n == 1 {
			counted = append(counted, labels[0])
		} else {
			counted = append(counted, fmt.Sprintf("%dx %s", n, labels[0]))
		}
		labels = labels[n:]
	}
	return counted
}

// tcRate formats bits/s as iproute2's print_rate: a larger unit only where nothing of a small rate is lost.
func tcRate(bits uint64) string {
	units := []string{"", "K", "M", "G", "T"}
	i := 0
	for ; i < len(units)-1 && bits >= 1000; i++ {
		if bits%1000 != 0 && bits < 1000*1000 {
			break
		}
		bits /= 1000
	}
	return fmt.Sprintf("%d%sbit", bits, units[i])
}

// tcSize formats bytes as iproute2's print_size.
func tcSize(bytes uint64) string {
	for _, unit := range []struct {
		name  string
		bytes float64
		slack float64 // what rounding may hide
	}{{"Mb", 1 << 20, 1024}, {"Kb", 1 << 10, 16}} {
		n := math.Round(float64(bytes) / unit.bytes)
		if n >= 1 && math.Abs(n*unit.bytes-float64(bytes)) < unit.slack {
			return fmt.Sprintf("%.0f%s", n, unit.name)
		}
	}
	return fmt.Sprintf("%db", bytes)
}

// tcTime formats a time in the one unit that tc would choose.
func tcTime(d time.Duration) string {
	unit, name := time.Microsecond, "us"
	switch {
	case d >= time.Second:
		unit, name = time.Second, "s"
	case d >= time.Millisecond:
		unit, name = time.Millisecond, "ms"
	}
	return strconv.FormatFloat(float64(d)/float64(unit), 'g', 6, 64) + name
}
