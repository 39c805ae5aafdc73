package truth

import (
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"tracer/internal/journey"
)

// kinds are qdiscs that hold a packet no longer than they must: an empty one is passed by, a busy one hands out lists.
// A queue there is all the same, and its time is measured, while a device without one has none to measure.
var kinds = []string{"pfifo", "pfifo_fast", "fq", "fq_codel", "sfq", "cake", "mq"}

// playKind puts a qdisc onto the uplink; the tunnel has none. It tells whether this kernel has such a qdisc.
func (r *rig) playKind(kind string) {
	r.tc(0, "qdisc add dev eth0 root "+kind)
	r.Cleanup(func() { r.tc(0, "qdisc del dev eth0 root") })
	r.send(r.traffic(), r.pairs...)
	for _, o := range r.observe(30, time.Minute, legs(r.pairs)...) {
		r.agree(&o)
		if len(o.lost) > 0 {
			r.Errorf("%v: %d packets were lost: %v", o.leg, len(o.lost), o.lost)
		}
		if o.leg.back {
			continue
		}
		queue, tunnel := place{0, journey.Queue, "eth0"}, place{0, journey.Queue, o.leg.overlay}
		for _, p := range o.packets {
			if _, ok := p.stages[queue]; !ok || p.without[queue] {
				r.Fatalf("%v: no %v is timed with %s: %v", o.leg, queue, kind, p.stages)
			}
			if !p.without[tunnel] {
				r.Fatalf("%v: %v is timed, though there is no qdisc: %v", o.leg, tunnel, p.stages)
			}
		}
		r.row(kind+" on uplink", &o)
	}
}

// hasKind asks the kernel for a qdisc. mq is for devices of more than one queue, which not every kernel's veths have.
func (r *rig) hasKind(kind string) bool {
	if kind == "mq" && r.transmitQueues("eth0") < 2 {
		return false
	}
	ns := string(r.lab.Node(1).Netns)
	out, err := exec.Command("tc", "-n", ns, "qdisc", "add", "dev", "eth0", "root", kind).CombinedOutput()
	if err == nil {
		r.tc(0, "qdisc del dev eth0 root")
		return true
	}
	if r.emulated {
		r.Errorf("a guest's kernel has no %s: %v: %s", kind, err, strings.TrimSpace(string(out)))
	}
	return false
}

func (r *rig) transmitQueues(device string) (n int) {
	r.Helper()
	err := r.lab.Node(1).Do(func() error {
		l, err := netlink.LinkByName(device)
		if err == nil {
			n = l.Attrs().NumTxQueues
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return n
}

// disorder is what else netem does to packets on their way.
var disorder = []string{
	"delay 10ms duplicate 20%",
	"delay 20ms reorder 25% 50%",
	"delay 10ms corrupt 20%",
}

// playDisorder has packets that come twice, in another order, or damaged so that nobody takes them: each is one journey,
// with its own time.
func (r *rig) playDisorder(netem string) {
	w := r.pairs[0]
	r.tc(0, "qdisc add dev "+w.overlay+" root netem "+netem)
	r.Cleanup(func() { r.tc(0, "qdisc del dev "+w.overlay+" root") })
	stop := r.send(r.traffic(), w)
	o := r.observe(60, time.Minute, leg{w, false})[0]
	r.agree(&o)
	r.row("netem "+netem, &o)
	stop()
	sent, _, err := leg{w, false}.logs(0)
	if err != nil {
		r.Fatal(err)
	}
	begun := 0
	for _, all := range r.sightings(leg{w, false}, 0) {
		for _, s := range all {
			if s.first >= sent[0].Sent { // the scenario before may have ended journeys after the reset
				begun++
			}
		}
	}
	// A copy is made in the queue, where nobody saw it come in: it is no packet of its own to us.
	if begun > len(sent) {
		r.Errorf("%d journeys of %d packets", begun, len(sent))
	}
}

// replaced takes a queue away while packets are in it, and puts another one there: those in it are its drops, those
// after are timed by the new one.
func replaced(r *rig) {
	w := r.pairs[0]
	at := place{0, journey.Queue, w.overlay}
	r.awaitDrops()
	before := r.queueDrops(0)
	r.tc(0, "qdisc add dev "+w.overlay+" root handle 1: netem delay 500ms")
	r.Cleanup(func() { r.tc(0, "qdisc del dev "+w.overlay+" root") })
	r.send(r.traffic(), w)
	r.observe(10, time.Minute, leg{w, false})
	r.tc(0, "qdisc replace dev "+w.overlay+" root handle 2: netem delay 50ms")
	o := r.observe(40, time.Minute, leg{w, false})[0]
	r.agree(&o)
	r.holds(&o, at, effect{delay: 50 * time.Millisecond})
	r.row("netem replaced by delay 50ms", &o)
	if dropped := r.queueDrops(0)[w.overlay] - before[w.overlay]; dropped == 0 {
		r.Errorf("the packets in a queue that was taken away were not counted as its drops")
	}
}
