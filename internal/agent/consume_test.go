package agent

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/loader"
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
// for long when it is gone, and no packet is lost sight of.
func TestConsumeComesAndGoes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad(), consumeAsNeeded)
	node := c.lab.Node(1).Netns
	counters := func() loader.Counters {
		counters, err := c.agents[0].loader.Counters()
		if err != nil {
			t.Fatal(err)
		}
		return counters
	}
	c.consumeAttached(false, "the start")
	before := counters() // while hooks were attached, journeys began between them
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
	after := counters()
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
