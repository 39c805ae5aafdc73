package agent

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tracer/internal/diagnose"
	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

const consumeTestCalm = 2 * time.Second

// consumeAsNeeded has consume_skb be traced for no longer than that after it was needed.
func consumeAsNeeded(o *Options) { o.Loader.ConsumeCalm = consumeTestCalm }

// consumeAttached waits until the first node traces consume_skb, or does no longer, and returns how long that took.
func (c *cluster) consumeAttached(want bool, after string) (took time.Duration) {
	c.Helper()
	start := time.Now()
	for c.agents[0].loader.TracepointAttached("consume_skb") != want {
		if time.Since(start) > 30*time.Second {
			c.Fatalf("consume_skb is attached: %v, 30 s after %s", !want, after)
		}
		time.Sleep(time.Millisecond)
	}
	took = time.Since(start)
	c.Logf("consume_skb is attached: %v, %v after %s", want, took.Round(time.Millisecond), after)
	return took
}

// TestConsumeComesAndGoes has a queue that splits large packets come and go under load: consume_skb is traced within 100 ms of it, not
// for long when it is gone, and no packet is lost sight of. It runs alone, as other tests' bulk takes all the CPUs.
func TestConsumeComesAndGoes(t *testing.T) {
	c := newCluster(t, lab.DefaultLoad(), consumeAsNeeded)
	node := c.lab.Node(1).Netns
	c.consumeAttached(false, "the start")
	before := c.counters() // while hooks were attached, journeys began between them
	for range 3 {
		c.run(node, "", "tc", "qdisc", "add", "dev", c.lab.OverlayDevice(), "root", "tbf", "rate", "1gbit", "burst", "100k", "latency", "100ms")
		if took := c.consumeAttached(true, "a qdisc that splits came"); took > 100*time.Millisecond {
			t.Errorf("the hook came after %v", took)
		}
		time.Sleep(300 * time.Millisecond)
		c.run(node, "", "tc", "qdisc", "del", "dev", c.lab.OverlayDevice(), "root")
		if took := c.consumeAttached(false, "it went"); took < consumeTestCalm/2 {
			t.Errorf("the hook went after %v", took)
		}
	}
	after := c.counters()
	vanished := func(c loader.Counters) uint64 {
		return lostSight(c) + c.Unfinished["egress"] + c.Unfinished["dequeue"] + c.NoIngress
	}
	if n, of := vanished(after)-vanished(before), after.Started-before.Started; n > unseen(of) {
		t.Errorf("of %d packets sight was lost of %d: %+v, before %+v", of, n, after, before)
	}
}

// TestStartBesideSplits starts agents while a queue splits large packets, and small ones pass beside them: from the first on, each that
// begins and is split is told of as split, and none is lost sight of.
func TestStartBesideSplits(t *testing.T) {
	t.Parallel()
	c := newUntracedCluster(t, lab.Options{Load: lab.DefaultLoad()})
	cache, _ := c.lab.Pod("cache")
	api, _ := c.lab.Pod(lab.API)
	if _, err := c.lab.Fault(lab.Fault{Device: lab.OverlayDevice, Tool: lab.TBF, Rate: 40_000_000, Limit: 250_000}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- lab.Bulk(ctx, cache, api, netip.AddrPortFrom(api.Address, 0)) }()
	time.Sleep(time.Second)
	c.trace(governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}, consumeAsNeeded)
	// All the time that follows, and longer than a queue that needs nothing would have the hook.
	time.Sleep(consumeTestCalm + 2*time.Second)
	if !c.agents[0].loader.TracepointAttached("consume_skb") {
		t.Error("consume_skb is not attached although a queue splits packets")
	}
	counters, err := c.agents[0].loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := lostSight(counters) + counters.Unfinished["egress"] + counters.Unfinished["dequeue"]; counters.Split < 50 || n > unseen(counters.Started) {
		t.Errorf("of %d packets %d were split, and sight was lost of %d: %+v", counters.Started, counters.Split, n, counters)
	}
}

func tcpBulk(ctx context.Context, from, to lab.Pod) error {
	return lab.Bulk(ctx, from, to, netip.AddrPortFrom(to.Address, 0))
}

// largePackets are followed on the first node while consume_skb comes and goes.
type largePackets struct {
	*cluster
	stop, stopHeld context.CancelFunc
	ended          chan error
	held           chan []record.Record // that were seen to be held, at the end
	from           diagnose.Snapshot
	before         loader.Counters
	sent           netdev.Traffic // of the pod's device, before
}

func (c *cluster) sendLarge(bulk func(ctx context.Context, from, to lab.Pod) error) *largePackets {
	c.Helper()
	cache, _ := c.lab.Pod("cache")
	api, _ := c.lab.Pod(lab.API)
	p := &largePackets{cluster: c, ended: make(chan error, 1), held: make(chan []record.Record, 1), from: c.now(0), before: c.counters(), sent: c.receivedFrom(cache)}
	sending, stop := context.WithCancel(c.Context())
	looking, stopHeld := context.WithCancel(c.Context())
	p.stop, p.stopHeld = stop, stopHeld
	go func() { p.ended <- bulk(sending, cache, api) }()
	go func() { p.held <- c.heldUntil(looking) }()
	return p
}

func (c *cluster) counters() loader.Counters {
	c.Helper()
	counters, err := c.agents[0].loader.Counters()
	if err != nil {
		c.Fatal(err)
	}
	return counters
}

// heldUntil collects large packets that seem to wait at an egress for longer than any does here.
func (c *cluster) heldUntil(ctx context.Context) (held []record.Record) {
	const longest = 1500 * time.Millisecond
	for ctx.Err() == nil {
		open, err := c.agents[0].loader.OpenJourneys()
		if err != nil {
			c.Error(err)
			return held
		}
		for _, r := range open {
			last := r.Hops[r.Len-1]
			if r.Segments > 1 && (last.Hook == record.Egress || last.Hook == record.Dequeue) && r.Time-last.Time > longest {
				held = append(held, r)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return held
}

// end stops sending, and looks whether packets seemed to be held.
func (p *largePackets) end() {
	p.Helper()
	p.stop()
	if err := <-p.ended; err != nil {
		p.Fatal(err)
	}
	time.Sleep(2 * time.Second) // what was left behind is found in that time
	p.stopHeld()
	held := map[uint64]record.Record{}
	for _, r := range <-p.held {
		held[r.Fingerprint] = r
	}
	if uint64(len(held)) > unseen(0) {
		p.Errorf("%d packets looked held: %+v", len(held), held)
	}
}

// check ends it, and compares what was seen with what the pod's device counted. hidden are bytes of which the ends may be missing, dropped
// segments that may be lost.
func (p *largePackets) check(hidden, dropped uint64) {
	p.Helper()
	p.end()
	cache, _ := p.lab.Pod("cache")
	sent := p.receivedFrom(cache).RxBytes - p.sent.RxBytes
	to, after := p.now(0), p.counters()
	var seen float64
	var lost uint64
	for i := range to.Counts.Pairs {
		pair := &to.Counts.Pairs[i]
		if pair.SrcWorkload != "cache" {
			continue
		}
		seen += pair.Bytes
		for _, d := range pair.Drops {
			if d.Loss {
				p.Logf("lost: %+v", d)
				lost += d.Segments
			}
		}
	}
	if lost > dropped {
		p.Errorf("%d segments are lost, and at most %d can be", lost, dropped)
	}
	noSight := lostSight(after) + after.Unfinished["egress"] + after.Unfinished["dequeue"] + after.NoIngress -
		lostSight(p.before) - p.before.Unfinished["egress"] - p.before.Unfinished["dequeue"] - p.before.NoIngress
	p.Logf("the device counted %d bytes, of which %d may be unseen; seen %.0f; %d split, sight lost of %d of %d packets, torn %d", sent, hidden, seen,
		after.Split-p.before.Split, noSight, after.Started-p.before.Started, after.Torn-p.before.Torn)
	// Records have no link-layer headers and the device has, once for each large packet.
	if seen > 1.02*float64(sent) || seen < 0.98*float64(sent)-1.02*float64(hidden) {
		p.Errorf("seen %.0f bytes, the device counted %d, of which %d may be unseen", seen, sent, hidden)
	}
	if torn := after.Torn - p.before.Torn; torn > 2 {
		p.Errorf("%d journeys were torn", torn)
	}
	if after.Split == p.before.Split {
		p.Error("nothing was split")
	}
}

// TestLargePacketsAsConsumeComesAndGoes has segmentation of TCP be switched off and on under load: the hook comes and goes, nothing is torn,
// nothing looks held or lost, and all bytes are counted.
func TestLargePacketsAsConsumeComesAndGoes(t *testing.T) {
	t.Parallel()
	c := newLimitedCluster(t, load.Config{Rate: 100, Size: 90}, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}, consumeAsNeeded)
	c.consumeAttached(false, "the start")
	p := c.sendLarge(tcpBulk)
	for range 2 {
		time.Sleep(time.Second)
		if c.agents[0].loader.TracepointAttached("consume_skb") {
			t.Error("the hook is attached although every device takes large packets whole")
		}
		c.segmentation(false, tso...)
		if took := c.consumeAttached(true, "segmentation was switched off"); took > time.Second {
			t.Errorf("the hook came after %v", took)
		}
		time.Sleep(time.Second)
		c.segmentation(true, tso...)
		c.consumeAttached(false, "segmentation was switched on")
	}
	p.check(0, 0)
	r := diagnose.Diagnose("node", p.from, c.now(0))
	c.wantAllSeen(&r)
}

// TestLargePacketsAsQueueComes has a queue that splits come under load.
func TestLargePacketsAsQueueComes(t *testing.T) {
	t.Parallel()
	c := newLimitedCluster(t, load.Config{Rate: 100, Size: 90}, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}, consumeAsNeeded)
	c.consumeAttached(false, "the start")
	add := func(kind string, arguments ...string) {
		c.run(c.lab.Node(1).Netns, "", append([]string{"tc", kind, "add", "dev", c.lab.OverlayDevice()}, arguments...)...)
	}
	// Below another one, since what comes while the root qdisc is replaced the kernel drops.
	add("qdisc", "root", "handle", "1:", "htb", "default", "1")
	add("class", "parent", "1:", "classid", "1:1", "htb", "rate", "100gbit")
	p := c.sendLarge(tcpBulk)
	time.Sleep(time.Second)
	if c.agents[0].loader.TracepointAttached("consume_skb") {
		t.Error("the hook is attached although no qdisc splits")
	}
	add("qdisc", "parent", "1:1", "tbf", "rate", "500mbit", "burst", "20k", "limit", "50m")
	c.consumeAttached(true, "a qdisc that splits came") // how soon, TestConsumeComesAndGoes tells, where nothing takes all the CPUs
	time.Sleep(2 * time.Second)
	p.check(0, 64) // what waits in the qdisc that is replaced is dropped
}

// TestUnannouncedSplits has the uplink's driver no longer be handed large packets, of which nobody tells: of UDP, which most cards cannot
// split, and of many segments. The hook comes back by itself within seconds. What was split meanwhile does not look held, and afterwards
// nothing is unseen.
func TestUnannouncedSplits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		bulk   func(ctx context.Context, from, to lab.Pod) error
		change func(c *cluster, whole bool)
	}{
		{"UDP", udpBulk, func(c *cluster, whole bool) { c.segmentation(whole, udpSegmentation) }},
		{"segments", tcpBulk, func(c *cluster, whole bool) { c.limitSegments(whole) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newLimitedCluster(t, load.Config{Rate: 100, Size: 90}, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}, consumeAsNeeded)
			c.consumeAttached(false, "the start")
			p := c.sendLarge(test.bulk)
			cache, _ := c.lab.Pod("cache")
			time.Sleep(time.Second)
			if !areLarge(p.sent, c.receivedFrom(cache)) {
				p.end() // TestSoftwareSegmentationOfUDP looks what becomes of it
				return
			}
			if c.agents[0].loader.TracepointAttached("consume_skb") {
				t.Error("the hook is attached although every device takes large packets whole")
			}
			before := c.receivedFrom(cache).RxBytes
			test.change(c, false)
			if took := c.consumeAttached(true, "packets were split"); took > 5*time.Second {
				t.Errorf("the hook came after %v", took)
			}
			unseen := c.receivedFrom(cache).RxBytes - before
			r := c.diagnosed(0, 4*time.Second)
			c.wantAllSeen(&r)
			if !c.agents[0].loader.TracepointAttached("consume_skb") {
				t.Error("the hook went although packets are split")
			}
			test.change(c, true)
			c.consumeAttached(false, "none is split any more")
			time.Sleep(time.Second)
			p.check(unseen, 0)
		})
	}
}

// limitSegments lets the first node's uplink take large packets whole, or of eight segments at most.
func (c *cluster) limitSegments(whole bool) {
	c.Helper()
	segments := 8
	if whole {
		segments = 65535
	}
	err := c.lab.Node(1).Do(func() error {
		l, err := netlink.LinkByName(uplink)
		if err != nil {
			return err
		}
		return netlink.LinkSetGSOMaxSegs(l, segments)
	})
	if err != nil {
		c.Fatal(err)
	}
}

// segmentation switches features of the first node's uplink.
func (c *cluster) segmentation(on bool, features ...string) {
	c.Helper()
	if err := c.lab.Node(1).Do(func() error { return setFeatures(uplink, on, features...) }); err != nil {
		c.Fatal(err)
	}
}
