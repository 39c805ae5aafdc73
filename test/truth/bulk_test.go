package truth

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// bulkPort is where bulk data goes.
const bulkPort = 6998

// bulkRate is what the queues let through, in bits a second.
const bulkRate = 400_000

// fullFrame is what TCP's full segments take on the wire.
const fullFrame = 1500 + 14

// maxSegments is how many segments a packet that a pod sends has at most.
const maxSegments = 16

// bulkScenario is a rate, under which TCP sends as much as it can.
type bulkScenario struct {
	name   string
	netem  bool
	splits bool     // large packets, when it takes them in
	do     []string // tc, at DEVICE
}

var bulkScenarios = []bulkScenario{
	{name: "bulk TCP through htb with netem", netem: true, do: []string{
		"qdisc add dev DEVICE root handle 10: htb default 10",
		"class add dev DEVICE parent 10: classid 10:10 htb rate 1mbit burst 3000",
		"qdisc add dev DEVICE parent 10:10 handle 100: netem delay 50ms rate 400kbit limit 200",
	}},
	{name: "bulk TCP through tbf", splits: true, do: []string{"qdisc add dev DEVICE root handle 10: tbf rate 400kbit burst 5000 limit 60000"}},
}

// play has small packets beside the large ones in the same queue: they know how long they waited, and the large ones
// must have waited as long. What left the queue must be as much as the qdisc says, in segments and in bytes.
func (s bulkScenario) play(r *rig) {
	w := r.pairs[0]
	at := place{0, journey.Queue, "eth0"}
	r.awaitDrops()
	sight := r.missedPackets()
	for _, c := range s.do {
		r.tc(0, replace(c, map[string]string{"DEVICE": at.device}))
	}
	r.Cleanup(func() { r.tc(0, "qdisc del dev eth0 root") })
	r.ip(w.from.Netns, fmt.Sprintf("link set eth0 gso_max_segs %d", maxSegments))
	r.Cleanup(func() { r.ip(w.from.Netns, "link set eth0 gso_max_segs 65535") })
	r.eventually(10*time.Second, "the programs know of a qdisc that splits", func() (bool, string) {
		_, omitted := r.nodes[0].agent.Loader().Hooks()
		known := slices.ContainsFunc(omitted, func(o loader.Omission) bool { return o.Device == at.device && o.Hook == "queue" })
		return known == s.splits, fmt.Sprint(omitted)
	})
	from := load.Monotonic()
	stop := r.send(r.traffic(), w)
	ctx, cancel := context.WithTimeout(r.Context(), 6*time.Second)
	defer cancel()
	if err := lab.Bulk(ctx, w.from, w.to, netip.AddrPortFrom(w.server.Addr(), bulkPort)); err != nil {
		r.Fatal(err)
	}
	stop()
	o := r.compare(leg{w, false}, from)
	r.agree(&o)
	r.row(s.name, &o)
	small := o.each(func(p *comparison) time.Duration { return p.stages[at] })

	var root netdev.Qdisc
	var sent passed
	r.eventually(30*time.Second, "what the qdisc let through was recorded", func() (bool, string) {
		for _, d := range r.now(0).Devices {
			if d.Name == at.device {
				root = d.Root
			}
		}
		sent = r.passed(0)
		// What is missed is a packet, however many segments it has.
		missed := r.missedSince(sight) * maxSegments
		within := func(got, want, missed uint64) bool {
			return math.Abs(float64(got)-float64(want)) <= 0.01*float64(want)+float64(missed)
		}
		return root.BacklogPackets == 0 && within(sent.segments, root.Packets, missed) && within(sent.bytes, root.Bytes, missed*fullFrame),
			fmt.Sprintf("recorded %d segments, %d bytes, missed %d packets of at most %d segments; the qdisc sent %d segments, %d bytes and holds %d",
				sent.segments, sent.bytes, r.missedSince(sight), maxSegments, root.Packets, root.Bytes, root.BacklogPackets)
	})
	if len(sent.waited) < 20 {
		r.Fatalf("only %d large packets were timed", len(sent.waited))
	}
	large, beside := quantile(sent.waited, 0.5), quantile(small, 0.5)
	// Up to how much of a large packet's own, or of its first segments, is in front of it.
	if off := (large - beside).Abs(); off > beside/10+300*time.Millisecond {
		r.Errorf("large packets waited %v (p50), small ones beside them %v", large, beside)
	}
	// Kernel and scenario; segments and bytes, by the qdisc and recorded; what small and large packets waited, in ms.
	fmt.Printf("bulk\t%s\t%s\t%d\t%d\t%d\t%d\t%.0f\t%.0f\n", r.kernel, s.name,
		root.Packets, sent.segments, root.Bytes, sent.bytes, 1000*beside.Seconds(), 1000*large.Seconds())
}

// passed is what left a node by its uplink.
type passed struct {
	segments, bytes uint64
	waited          []time.Duration // TCP's large packets, or their first and last segments
}

func (r *rig) passed(node int) (p passed) {
	r.Helper()
	devices := journey.NewDevices(r.nodes[node].agent.KnownDevices())
	for _, one := range r.nodes[node].take() {
		path, err := journey.PathOf(&one, devices)
		if err != nil {
			r.Fatalf("%+v: %v", one, err)
		}
		whole := one.SplitAt == 0 || one.Kind == record.Split
		switch {
		case path.Direction == journey.In:
			continue
		case one.Kind == record.Dropped && (!one.Attributed || one.SplitAt > 0):
			// A segment of what was counted as a whole: its record still has the size of that.
			p.segments--
			p.bytes -= uint64(min(one.WireBytes, fullFrame))
		case one.Kind == record.Dropped:
		case one.Segments > maxSegments:
			r.Fatalf("a packet of %d segments", one.Segments)
		case whole:
			p.segments += uint64(one.Segments)
			p.bytes += uint64(one.WireBytes)
		}
		if one.First.Protocol != unix.IPPROTO_TCP || one.IPBytes < 1000 || one.Kind == record.Dropped {
			continue
		}
		for _, step := range path.Steps()[path.StepsBeforeSplit:] {
			if step.Stage == journey.Queue && !step.Untimed && step.Device.Name == "eth0" {
				wait := step.Delay
				if whole { // netem's rate counts a packet's own length
					wait -= time.Duration(one.WireBytes) * 8 * time.Second / bulkRate
				}
				p.waited = append(p.waited, wait)
			}
		}
	}
	return p
}
