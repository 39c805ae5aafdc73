package agent

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/netdev"
)

// TestUnseenQueue has packets wait in the queue of a pod's device at whose egress another program's ingress qdisc leaves no room for
// ours, on kernels without TCX: nobody may take that for the time of forwarding, in which nothing is queued.
func TestUnseenQueue(t *testing.T) {
	t.Parallel()
	features, err := loader.ProbeFeatures()
	if err != nil {
		t.Fatal(err)
	}
	c := newUntraced(t, lab.Options{Load: load.Config{Rate: 200, Size: 558, TCP: 50 * time.Millisecond}}) // 960 kbit/s and more
	api, _ := c.lab.Pod(lab.API)
	node := c.lab.Nodes()[1]
	c.run(node.Netns, "", "tc", "qdisc", "add", "dev", api.Device, "handle", "ffff:", "ingress")
	c.run(node.Netns, "", "tc", "qdisc", "add", "dev", api.Device, "root", "tbf", "rate", "800kbit", "burst", "2k", "latency", "300ms")
	c.trace(governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3})
	c.eventually(20*time.Second, "the queue is full", func() (bool, string) {
		root := rootOf(c.now(1).Devices, api.Device)
		return root.Drops > 0, fmt.Sprintf("%+v", root)
	})
	windows, seen := c.watch(6 * time.Second)
	if seen.TCP.P50 < 0.2 {
		t.Fatalf("calls took %v s by the application's clock: nothing waited", seen.TCP.P50)
	}
	stages := stages(windows[1], lab.Web, lab.API)
	forward, queue := stages[journey.Forward].Delay, stages[journey.Queue].Delay
	t.Logf("TCX %t: %d packets in forward, %v s (p99); %d in the queue, %v s (p50)",
		features.TCX, forward.Count(), forward.Quantile(0.99), queue.Count(), queue.Quantile(0.5))
	if n := forward.Above(0.1); n > 0 {
		t.Errorf("%v of %d packets are said to be forwarded in more than 100 ms", n, forward.Count())
	}
	if features.TCX != (queue.Above(0.1) > 0) {
		t.Errorf("%v of %d packets waited in the queue for more than 100 ms, where the hook is there: %t", queue.Above(0.1), queue.Count(), features.TCX)
	}
	r := c.diagnosed(1, 3*time.Second)
	for _, f := range r.Findings {
		if f.Stage != journey.Queue || f.Device != netdev.PodLabel {
			t.Errorf("%s, want the queue of the pod's device: %q", f.Sentence(), f.Evidence)
		}
	}
	if len(r.Findings) == 0 {
		t.Errorf("%s: %s", r.Verdict, r.Summary)
	} else if d := r.Findings[0].Drops; !features.TCX && (d == nil || d.Ratio == nil || *d.Ratio < 0.1 || *d.Ratio > 0.3) {
		t.Errorf("drops are %+v, want about one in six", d)
	}
	if !features.TCX {
		c.wantCoverage(&r, netdev.PodLabel, journey.In, 0, 0.05, "another program's ingress qdisc is there")
	}
}
