package agent

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/lab"
	"tracer/internal/loader"
)

// TestQueuesComeAndGo traces consume_skb while a device splits packets behind its egress, and loses sight of none as that changes.
func TestQueuesComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	node := c.lab.Node(1).Netns
	const consume = "consume_skb"
	attached := func(want bool, after string) {
		t.Helper()
		start := time.Now()
		c.eventually(30*time.Second, fmt.Sprintf("%s is attached: %v, %s", consume, want, after), func() (bool, string) {
			return c.agents[0].loader.TracepointAttached(consume) == want, ""
		})
		t.Logf("%s is attached: %v, %v after %s", consume, want, time.Since(start), after)
	}
	counters := func() loader.Counters {
		counters, err := c.agents[0].loader.Counters()
		if err != nil {
			t.Fatal(err)
		}
		return counters
	}
	attached(false, "the start")
	before := counters() // while hooks were attached, journeys began between them
	for range 3 {
		c.run(node, "", "tc", "qdisc", "add", "dev", c.lab.OverlayDevice(), "root", "tbf", "rate", "1gbit", "burst", "100k", "latency", "100ms")
		attached(true, "a qdisc that splits came")
		time.Sleep(300 * time.Millisecond)
		c.run(node, "", "tc", "qdisc", "del", "dev", c.lab.OverlayDevice(), "root")
		attached(false, "it went")
	}
	after := counters()
	vanished := func(c loader.Counters) uint64 {
		return lostSight(c) + c.Unfinished["egress"] + c.Unfinished["dequeue"] + c.NoIngress
	}
	if n, of := vanished(after)-vanished(before), after.Started-before.Started; n > unseen(of) {
		t.Errorf("of %d packets sight was lost of %d: %+v, before %+v", of, n, after, before)
	}
}
