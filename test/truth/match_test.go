package truth

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/lab/load"
	"tracer/internal/record"
)

// packet is one of a leg's, as the load's logs know it.
type packet struct {
	port    uint16
	sent    time.Duration
	arrived time.Duration // 0 if it was lost
}

// outcomes tells what became of the packets up to the newest that had come a while ago. What that one overtook is lost,
// for queues keep the order.
func outcomes(sent, received []load.Entry, ports map[uint64]uint16, newest uint64) []packet {
	came := make(map[uint64]load.Entry, len(received))
	for _, e := range received {
		came[e.Seq] = e
	}
	var all []packet
	for _, e := range sent {
		if e.Seq <= newest {
			all = append(all, packet{port: ports[e.Seq], sent: e.Sent, arrived: came[e.Seq].Arrived})
		}
	}
	return all
}

// sighting is what a node recorded of a packet.
type sighting struct {
	path  journey.Path
	kind  record.Kind
	first time.Duration
	last  time.Duration
}

// match finds what both nodes saw of a packet: the journey that began at the sender when it was sent, and the one that
// ended at the receiver when it came. A port is used again only long after that.
func match(p packet, outbound, inbound []sighting) (out, in *sighting) {
	const apart = time.Second
	// An arrival is stamped by the wall clock, and the two clocks cannot be read at once: it may seem to come before the
	// last hook, by a microsecond on a quiet machine.
	const clocks = 100 * time.Microsecond
	for i := range outbound {
		if s := &outbound[i]; s.first >= p.sent && s.first < p.sent+apart && (out == nil || s.first < out.first) {
			out = s
		}
	}
	for i := range inbound {
		s := &inbound[i]
		if p.arrived != 0 && s.last <= p.arrived+clocks && s.last > p.arrived-apart && (in == nil || s.last > in.last) {
			in = s
		}
		if p.arrived == 0 && s.kind == record.Dropped && s.first >= p.sent && (in == nil || s.first < in.first) {
			in = s
		}
	}
	return out, in
}

// observed is what the oracle and the tracer say of a leg's packets.
type observed struct {
	leg       leg
	lost      []loss
	unmatched int // of those received, how many were not recorded by both nodes
	packets   []comparison
}

// comparison is a packet that was received, by both.
type comparison struct {
	oracle, measured time.Duration
	stages           map[place]time.Duration
	without          map[place]bool // queue stages of devices that have no queue
}

// loss is a packet that did not come, and where the tracer says it was lost; zero if it does not.
type loss struct{ at place }

// place is a stage at a device of a node.
type place struct {
	node   int
	stage  journey.Stage
	device string
}

func (p place) String() string {
	return fmt.Sprintf("%s at %s of node%d", p.stage, p.device, p.node+1)
}

// observe waits until so many packets of each leg have come, and tells of them.
func (r *rig) observe(atLeast int, limit time.Duration, legs ...leg) []observed {
	r.Helper()
	from := load.Monotonic()
	r.eventually(limit, fmt.Sprintf("%d packets in each direction", atLeast), func() (bool, string) {
		for _, l := range legs {
			_, received, err := l.logs(from)
			if err != nil {
				r.Fatal(err)
			}
			if len(received) < atLeast {
				return false, fmt.Sprintf("%d on %v", len(received), l)
			}
		}
		return true, ""
	})
	var all []observed
	for _, l := range legs {
		all = append(all, r.compare(l, from))
	}
	return all
}

// compare finds what the nodes recorded of a leg's packets. Records come with a delay of their own, and so do lines of
// the logs.
func (r *rig) compare(l leg, from time.Duration) (o observed) {
	r.Helper()
	var newest uint64
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(r.interval()) {
		sent, received, err := l.logs(from)
		if err != nil {
			r.Fatal(err)
		}
		ports, err := l.ports()
		if err != nil {
			r.Fatal(err)
		}
		if newest == 0 {
			for _, e := range received {
				newest = max(newest, e.Seq)
			}
		}
		o = observed{leg: l}
		outbound, inbound := r.sightings(l, l.outbound()), r.sightings(l, 1-l.outbound())
		unseen := 0
		for _, p := range outcomes(sent, received, ports, newest) {
			out, in := match(p, outbound[p.port], inbound[p.port])
			switch {
			case p.arrived == 0:
				lost := lossOf(l, out, in)
				if lost == (loss{}) {
					unseen++
				}
				o.lost = append(o.lost, lost)
			case out == nil || in == nil:
				o.unmatched++
			default:
				o.packets = append(o.packets, comparisonOf(l, p, out, in))
			}
		}
		if o.unmatched+unseen == 0 || time.Now().After(end) {
			return o
		}
	}
}

// sightings are what a node recorded of a leg's packets, by port.
func (r *rig) sightings(l leg, node int) map[uint16][]sighting {
	r.Helper()
	devices := journey.NewDevices(r.nodes[node].agent.KnownDevices())
	seen := make(map[uint16][]sighting)
	records := r.nodes[node].take()
	for i := range records {
		one := &records[i]
		from, to := one.First.Source, one.First.Destination
		if l.back {
			from, to = to, from
		}
		if to != l.server || one.Len == 0 {
			continue
		}
		path, err := journey.PathOf(one, devices)
		if err != nil {
			r.Errorf("%v: record %+v: %v", l, one, err)
			continue
		}
		seen[from.Port()] = append(seen[from.Port()], sighting{
			path: path, kind: one.Kind, first: one.Hops[0].Time, last: one.Hops[one.Len-1].Time})
	}
	return seen
}

func lossOf(l leg, out, in *sighting) loss {
	for i, s := range []*sighting{out, in} {
		if s != nil && s.kind == record.Dropped {
			node := l.outbound()
			if i == 1 {
				node = 1 - node
			}
			return loss{at: placeOf(node, s.path.Where)}
		}
	}
	return loss{}
}

func placeOf(node int, s journey.Step) place {
	p := place{node: node, stage: s.Stage}
	if s.Device != nil {
		p.device = s.Device.Name
	}
	return p
}

func comparisonOf(l leg, p packet, out, in *sighting) comparison {
	both := comparison{
		oracle: p.arrived - p.sent, measured: out.path.Total + in.path.Total, stages: map[place]time.Duration{},
		without: map[place]bool{},
	}
	for i, s := range []*sighting{out, in} {
		node := l.outbound()
		if i == 1 {
			node = 1 - node
		}
		for _, step := range s.path.Steps() {
			both.stages[placeOf(node, step)] += step.Delay
			both.without[placeOf(node, step)] = step.NoQueue
		}
	}
	return both
}

// quantile is a value that was really seen.
func quantile[T cmp.Ordered](values []T, q float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// each is what f says of every packet.
func (o *observed) each(f func(*comparison) time.Duration) []time.Duration {
	all := make([]time.Duration, len(o.packets))
	for i := range o.packets {
		all[i] = f(&o.packets[i])
	}
	return all
}

func TestMatch(t *testing.T) {
	t.Parallel()
	at := func(first, last time.Duration) sighting {
		return sighting{kind: record.Finished, first: first, last: last}
	}
	const second = time.Second
	// A port that is used every two seconds: what belongs to another turn is no match.
	outbound := []sighting{at(1, 2), at(2*second+1, 2*second+9), at(4*second+1, 4*second+2)}
	inbound := []sighting{at(3, 4), at(7*second, 7*second+5), at(9*second, 9*second+5)}
	out, in := match(packet{sent: 2 * second, arrived: 7*second + 8}, outbound, inbound)
	if out != &outbound[1] || in != &inbound[1] {
		t.Errorf("matched %+v and %+v", out, in)
	}
	// What was lost at the receiver's node.
	inbound[2].kind = record.Dropped
	if out, in := match(packet{sent: 2 * second}, outbound, inbound); out != &outbound[1] || in != &inbound[2] {
		t.Errorf("lost: matched %+v and %+v", out, in)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	sent := []load.Entry{{Seq: 1, Sent: 10}, {Seq: 2, Sent: 20}, {Seq: 3, Sent: 30}, {Seq: 4, Sent: 40}}
	received := []load.Entry{{Seq: 1, Sent: 10, Arrived: 15}, {Seq: 3, Sent: 30, Arrived: 39}}
	got := outcomes(sent, received, map[uint64]uint16{1: 100, 2: 200, 3: 300}, 3)
	want := []packet{{100, 10, 15}, {200, 20, 0}, {300, 30, 39}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
