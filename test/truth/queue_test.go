package truth

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/lab/load"
	"tracer/internal/netdev"
)

// TestTruth plays all scenarios on one lab, one after the other.
func TestTruth(t *testing.T) {
	r := newRig(t)
	r.follow(everything)
	r.run("healthy", healthy)
	for _, s := range queues {
		// A tbf is how a kernel without netem is made slow.
		if (s.tool() == "netem") != r.netem {
			continue
		}
		r.run(s.name(), s.play)
	}
	for _, kind := range kinds {
		if r.hasKind(kind) {
			r.run(kind, func(r *rig) { r.playKind(kind) })
		}
	}
	if r.netem {
		for _, netem := range disorder {
			r.run(netem, func(r *rig) { r.playDisorder(netem) })
		}
		r.run("replaced", replaced)
	}
	for _, s := range bulkScenarios {
		if s.netem && !r.netem {
			continue
		}
		r.run(s.name, s.play)
	}
	r.run("comcast", comcast)
	if !r.emulated { // that would take a minute to send so many
		r.run("full table", fullTable)
	}
	for _, s := range dropScenarios {
		r.run(s.name, s.play)
	}
	r.run("tc drop", tcShot)
	r.run("tc redirect", tcRedirect)
	r.run("overlay recreated", overlayRecreated)
	r.run("pod deleted", podDeleted)
}

// The places where a queue is put.
const (
	onOverlay = "overlay"
	onUplink  = "uplink"
	onPod     = "pod" // the receiving pod's device on its node
)

// effect is what a queue does to each packet.
type effect struct {
	delay time.Duration
	loss  float64 // percent
	// full is how long a tbf holds packets that is full, as more comes than it lets through. It does so to the byte
	// on every kernel, and loses what it has no room for.
	full time.Duration
}

// A tbf's rate in bits a second, and the load that is more than that. Burst is what may go at once.
const (
	tbfRate  = 400_000
	tbfBurst = 2_000
)

var filling = load.Config{Rate: 150, Size: 500}

// queueScenario has a queue on the way there, and one on the way back.
type queueScenario struct {
	on          string
	there, back effect
}

var queues = []queueScenario{
	{on: onOverlay, there: effect{delay: 10 * time.Millisecond}, back: effect{delay: 50 * time.Millisecond}},
	{on: onOverlay, there: effect{delay: 500 * time.Millisecond}, back: effect{loss: 10}},
	{on: onOverlay, there: effect{loss: 10}, back: effect{delay: 10 * time.Millisecond, loss: 1}},
	{on: onUplink, there: effect{delay: 50 * time.Millisecond}, back: effect{delay: 500 * time.Millisecond}},
	{on: onUplink, there: effect{delay: 10 * time.Millisecond, loss: 10}, back: effect{loss: 1}},
	{on: onPod, there: effect{delay: 50 * time.Millisecond}, back: effect{delay: 10 * time.Millisecond}},
	{on: onPod, there: effect{loss: 1}, back: effect{delay: 500 * time.Millisecond, loss: 10}},
	// One way alone: what does not get there gets no answer that could fill the queue back.
	{on: onOverlay, there: effect{full: 100 * time.Millisecond}},
	{on: onOverlay, back: effect{full: 500 * time.Millisecond}},
	{on: onUplink, there: effect{full: 200 * time.Millisecond}},
	{on: onPod, back: effect{full: 100 * time.Millisecond}},
}

func (s queueScenario) tool() string {
	if s.there.full != 0 || s.back.full != 0 {
		return "tbf"
	}
	return "netem"
}

// qdisc is what makes the effect, in tc's words.
func (e effect) qdisc() string {
	if e.full != 0 {
		return fmt.Sprintf("tbf rate %d burst %d limit %d", tbfRate, tbfBurst, int(e.full.Seconds()*tbfRate/8))
	}
	return fmt.Sprintf("netem limit 10000 %v", e)
}

func (e effect) String() string {
	var words []string
	if e.full != 0 {
		words = append(words, fmt.Sprintf("full tbf of %v", e.full))
	}
	if e.delay != 0 {
		words = append(words, fmt.Sprintf("delay %v", e.delay))
	}
	if e.loss != 0 {
		words = append(words, fmt.Sprintf("loss %v%%", e.loss))
	}
	return strings.Join(words, " ")
}

func (s queueScenario) name() string {
	name := s.there.String() + " on " + s.on
	if s.there == (effect{}) {
		name = "nothing on " + s.on
	}
	if s.back != (effect{}) {
		name += ", back " + s.back.String()
	}
	return name
}

// place is where a leg's packets meet the queue.
func (s queueScenario) place(l leg) place {
	switch s.on {
	case onOverlay:
		return place{l.outbound(), journey.Queue, l.overlay}
	case onUplink:
		return place{l.outbound(), journey.Queue, "eth0"}
	default:
		return place{1 - l.outbound(), journey.Queue, l.receiver()}
	}
}

func (s queueScenario) effect(l leg) effect {
	if l.back {
		return s.back
	}
	return s.there
}

// tolerance is by how much the sum of a packet's stages may differ from the time between the applications: they alone
// know the ways from and to their sockets, and the wire.
func (r *rig) tolerance(oracle time.Duration) time.Duration {
	least := 300 * time.Microsecond
	if r.emulated {
		least = 3 * time.Millisecond
	}
	return max(least, oracle/20)
}

func healthy(r *rig) {
	r.send(r.traffic(), r.pairs...)
	r.observe(1, time.Minute, legs(r.pairs)...) // the first packets wait for their neighbours' addresses
	for _, o := range r.observe(60, time.Minute, legs(r.pairs)...) {
		r.agree(&o)
		if len(o.lost) > 0 {
			r.Errorf("%v: %d packets were lost: %v", o.leg, len(o.lost), o.lost)
		}
		r.row("no fault", &o)
	}
}

// agree checks packet by packet that both nodes' stages are together what the oracle says.
func (r *rig) agree(o *observed) {
	r.Helper()
	if share := float64(o.unmatched) / float64(o.unmatched+len(o.packets)); share > 0.05 || uint64(o.unmatched) > r.missedPackets() {
		r.Errorf("%v: %d of %d packets that came were not recorded by both nodes; counters: %+v", o.leg,
			o.unmatched, o.unmatched+len(o.packets), r.counters())
	}
	within, beyond := 0, 0
	for _, p := range o.packets {
		switch diff := p.oracle - p.measured; {
		case diff < 0:
			beyond++
		case diff <= r.tolerance(p.oracle):
			within++
		}
	}
	if beyond > 0 {
		r.Errorf("%v: of %d packets the nodes say they held them longer than they were on their way", o.leg, beyond)
	}
	// A machine that stands still between an application and the nearest hook takes time that only the oracle sees. An
	// emulated one, whose CPUs take turns, often does.
	least := 0.9
	if r.emulated {
		least = 0.5
	}
	if share := float64(within) / float64(len(o.packets)); share < least {
		r.Errorf("%v: only %.0f%% of %d packets agree with the oracle; oracle %v, measured %v (p50)", o.leg, 100*share,
			len(o.packets), quantile(o.each(oracle), 0.5), quantile(o.each(measured), 0.5))
	}
}

func oracle(p *comparison) time.Duration   { return p.oracle }
func measured(p *comparison) time.Duration { return p.measured }

func (s queueScenario) play(r *rig) {
	queues := map[place]effect{}
	pairs, fill := r.pairs, func() {}
	if s.tool() == "tbf" {
		// One way is held up, another one of the same pods fills the queue.
		pairs = pairs[:1]
	}
	for _, l := range legs(pairs) {
		if e := s.effect(l); e != (effect{}) {
			queues[s.place(l)] = e
		}
	}
	if s.tool() == "tbf" {
		filler := *pairs[0]
		filler.server = netip.AddrPortFrom(filler.server.Addr(), firstPort-1)
		fill = r.start(filling, &filler)
	}
	r.awaitDrops()
	sight := r.missedPackets()
	before := [2]map[string]uint64{r.queueDrops(0), r.queueDrops(1)}
	for q, e := range queues {
		r.tc(q.node, fmt.Sprintf("qdisc add dev %s root %s", q.device, e.qdisc()))
		r.Cleanup(func() { r.tc(q.node, fmt.Sprintf("qdisc del dev %s root", q.device)) })
	}
	r.learned(queues)
	stop := r.send(r.traffic(), pairs...)
	if s.tool() == "tbf" {
		r.fills(queues)
	}
	for _, o := range r.observe(60, time.Minute, legs(pairs)...) {
		at, want := s.place(o.leg), s.effect(o.leg)
		r.agree(&o)
		if want == (effect{}) {
			continue
		}
		r.holds(&o, at, want)
		for _, l := range o.lost {
			if l.at != at {
				r.Errorf("%v: a packet was lost, by the tracer: %v; want %v", o.leg, l.at, at)
			}
		}
		r.row(fmt.Sprintf("%v on %s", want, s.on), &o)
	}
	fill()
	r.loses(queues)
	stop()
	for node := range before {
		r.eventually(20*time.Second, "drops as the qdiscs count them", func() (bool, string) {
			counted, qdiscs, held := r.queueDrops(node), map[string]uint64{}, uint64(0)
			for _, d := range journeyDevices(r.now(node).Devices) {
				if _, ok := queues[place{node, journey.Queue, d.Name}]; ok {
					qdiscs[d.Label] += d.Root.Drops
					held += d.Root.BacklogPackets
				}
			}
			ok := held == 0
			for label, drops := range qdiscs {
				off := int64(counted[label]-before[node][label]) - int64(drops)
				ok = ok && uint64(max(off, -off)) <= r.missedSince(sight)
			}
			return ok, fmt.Sprintf("node%d: counted %v, before %v, elsewhere %v, missed %d; the qdiscs say %v and hold %d",
				node+1, counted, before[node], r.otherDrops(node), r.missedSince(sight), qdiscs, held)
		})
	}
}

// learned waits until the agents know of the queues. A kernel without reasons of drops does not say that it was a queue
// that dropped a packet: before they know, it is dropped at no stage.
func (r *rig) learned(queues map[place]effect) {
	r.Helper()
	for q := range queues {
		r.eventually(10*time.Second, "the agent knows of the queue", func() (bool, string) {
			for _, d := range r.nodes[q.node].agent.KnownDevices() {
				if d.Name == q.device {
					return d.Root.Queues(), fmt.Sprintf("root qdisc of %s is %s", d.Name, d.Root.Kind)
				}
			}
			return false, q.device + " is not known"
		})
	}
}

// fills waits until queues hold as much as they can, less a packet of the largest.
func (r *rig) fills(queues map[place]effect) {
	r.Helper()
	r.eventually(30*time.Second, "queues are full", func() (bool, string) {
		full, text := true, ""
		for node := range r.nodes {
			for _, d := range r.now(node).Devices {
				if _, ok := queues[place{node, journey.Queue, d.Name}]; ok {
					full = full && d.Root.BacklogBytes+700 > d.Root.Limit
					text += fmt.Sprintf("%s of node%d holds %d of %d bytes; ", d.Name, node+1, d.Root.BacklogBytes, d.Root.Limit)
				}
			}
		}
		return full, text
	})
}

// loses waits until each queue has lost something that is to lose some: else there were no drops to count.
func (r *rig) loses(queues map[place]effect) {
	r.Helper()
	r.eventually(time.Minute, "queues that lose packets have lost one", func() (bool, string) {
		lost, text := true, ""
		for node := range r.nodes {
			for _, d := range r.now(node).Devices {
				if e := queues[place{node, journey.Queue, d.Name}]; e.loss > 0 {
					lost = lost && d.Root.Drops > 0
					text += fmt.Sprintf("%s of node%d has lost %d; ", d.Name, node+1, d.Root.Drops)
				}
			}
		}
		return lost, text
	})
}

// journeyDevices are devices with the labels that drops are counted under: those of pods share one.
func journeyDevices(devices []netdev.Device) (labelled []*journey.Device) {
	index := journey.NewDevices(devices)
	for _, d := range devices {
		labelled = append(labelled, index.Find(d.Index))
	}
	return labelled
}

// queueDrops are the sk_buffs that a node has lost in queues since it is traced, by the device's label.
func (r *rig) queueDrops(node int) map[string]uint64 {
	r.Helper()
	drops := map[string]uint64{}
	for _, d := range r.now(node).Counts.Drops {
		if d.Stage == journey.Queue && d.Loss {
			drops[d.Device] += d.Packets
		}
	}
	return drops
}

// holds checks that one stage holds the delay that was injected, and the others nothing.
func (r *rig) holds(o *observed, at place, want effect) {
	r.Helper()
	stage := func(p *comparison) time.Duration { return p.stages[at] }
	// A queue's timer is late rather than early, so the quickest packets tell what was injected. A tbf's packets wait
	// for those in front of them, of which there are fewer where the load falls behind.
	held, delay, tolerance := quantile(o.each(stage), 0.1), want.delay, r.tolerance(want.delay)
	if want.full != 0 {
		held, delay, tolerance = quantile(o.each(stage), 0.5), want.full*3/4, want.full/4+r.tolerance(0)
	}
	if off := held - delay; math.Abs(float64(off)) > float64(tolerance) {
		r.Errorf("%v: %v is measured to hold packets %v, injected are %v", o.leg, at, held, delay)
	}
	if rest := quantile(o.each(func(p *comparison) time.Duration { return p.measured - p.stages[at] }), 0.5); rest > r.tolerance(0) {
		r.Errorf("%v: all other stages take %v (p50), though only %v is slow", o.leg, rest, at)
	}
}

// row prints a line of the table in docs/reports/accuracy.md: kernel, scenario and way; then in milliseconds the oracle's time,
// the sum of the stages, and by how much the two differ in the median and of 99 of 100 packets; lost and sent ones.
func (r *rig) row(scenario string, o *observed) {
	ms := func(d time.Duration) float64 { return 1000 * d.Seconds() }
	diff := o.each(func(p *comparison) time.Duration { return p.oracle - p.measured })
	fmt.Printf("accuracy\t%s\t%s\t%v\t%.3f\t%.3f\t%.3f\t%.3f\t%d\t%d\n", r.kernel, scenario, o.leg,
		ms(quantile(o.each(oracle), 0.5)), ms(quantile(o.each(measured), 0.5)), ms(quantile(diff, 0.5)), ms(quantile(diff, 0.99)),
		len(o.lost), len(o.packets)+len(o.lost))
}
