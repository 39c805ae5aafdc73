package agent

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

const podEnd = "pod:eth0"

// inPod runs a command in a pod's network namespace.
func (c *cluster) inPod(name, command string) string {
	c.Helper()
	pod, _ := c.lab.Pod(name)
	out, err := exec.Command("ip", append([]string{"netns", "exec", string(pod.Netns)}, strings.Fields(command)...)...).CombinedOutput()
	if err != nil {
		c.Fatalf("%s: %s: %v: %s", name, command, err, out)
	}
	return string(out)
}

// hasNetem tells whether this kernel does.
func (c *cluster) hasNetem() bool {
	pod, _ := c.lab.Pod("cache")
	tc := func(args string) error {
		return exec.Command("tc", append([]string{"-n", string(pod.Netns)}, strings.Fields(args)...)...).Run()
	}
	return tc("qdisc add dev lo root netem delay 1ms") == nil && tc("qdisc del dev lo root") == nil
}

// podRoot is the root qdisc at the own end of a pod's device, as the agent reads it.
func podRoot(s diagnose.Snapshot, device string) netdev.Qdisc {
	for _, d := range s.Devices {
		if d.Name == device && d.PodEnd != nil {
			return d.PodEnd.Root
		}
	}
	return netdev.Qdisc{}
}

// inPodQueue counts what was lost in the stage.
func inPodQueue(s *aggregate.Snapshot) (n uint64) {
	for _, d := range s.Drops {
		if d.Stage == journey.PodQueue && d.Device == podEnd && d.Loss {
			n += d.Packets
		}
	}
	return n
}

// attached waits until the programs are told of the pod's queue, or that it has gone.
func (c *cluster) attached(want bool) {
	c.Helper()
	c.eventually(90*time.Second, fmt.Sprintf("net_dev_queue attached: %v", want), func() (bool, string) {
		return c.agents[0].loader.TracepointAttached("net_dev_queue") == want, ""
	})
}

// TestPodQueue puts a queue on a pod's own eth0, where only the pod's node can see it. What is measured there is compared with
// the application's clock, and the drops with the qdisc's own count.
func TestPodQueue(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 50, Size: 558}) // 600 bytes with their headers: 240 kbit/s
	web, _ := c.lab.Pod(lab.Web)
	_, usual := c.watch(2 * time.Second)
	if windows, _ := c.watch(time.Second); c.agents[0].loader.TracepointAttached("net_dev_queue") || len(windows[0].Drops) > 0 {
		t.Errorf("without a queue in a pod: net_dev_queue is attached, or %v", windows[0].Drops)
	}
	phases := []struct {
		qdisc, cause string
		netem        bool
		delay        float64 // the least p50 in seconds
		loss         float64 // share
	}{
		{qdisc: "tbf rate 100kbit burst 2k latency 400ms", cause: "qdisc-drop", delay: 0.3, loss: 0.6},
		{qdisc: "netem delay 50ms", netem: true, cause: "qdisc-delay", delay: 0.045},
		{qdisc: "netem loss 10%", netem: true, cause: "qdisc-drop", loss: 0.1},
	}
	for _, phase := range phases {
		if phase.netem && !c.hasNetem() {
			continue
		}
		c.inPod(lab.Web, "tc qdisc add dev eth0 root "+phase.qdisc)
		c.attached(true)
		time.Sleep(2 * time.Second) // it fills
		from := c.now(0)
		windows, seen := c.watch(6 * time.Second)
		queue := stages(windows[0], lab.Web, lab.API)[journey.PodQueue]
		got, want := queue.Delay.Quantile(0.5), seen.Request.Delay.P50-usual.Request.Delay.P50
		noise := usual.Request.Delay.P99 - usual.Request.Delay.P50 + 0.001
		lost, passed := inPodQueue(windows[0]), queue.Delay.Count()
		share := float64(lost) / float64(lost+passed)
		t.Logf("%s: pod-queue held %d packets %.4f s (p50), one way took %.4f s more than usual; %d lost here (%.0f%%), the application lost %.0f%%",
			phase.qdisc, passed, got, want, lost, 100*share, 100*seen.Request.LossRatio)
		if math.Abs(got-want) > 0.1*want+noise || got < phase.delay {
			t.Errorf("%s: the queue is measured to hold %v s, by the application's clock it is %v s", phase.qdisc, got, want)
		}
		if math.Abs(share-phase.loss) > 0.07 {
			t.Errorf("%s: %d of %d packets lost", phase.qdisc, lost, lost+passed)
		}
		for stage, d := range stages(windows[0], lab.Web, lab.API) {
			if stage != journey.PodQueue && phase.delay > 0 && d.Delay.Quantile(0.5) > 0.1*want {
				t.Errorf("%s: stage %s took %v s", phase.qdisc, stage, d.Delay.Quantile(0.5))
			}
		}
		now := c.now(0)
		if root := podRoot(now, web.Device); phase.loss > 0 {
			before := podRoot(from, web.Device).Drops
			counted, qdisc := inPodQueue(now.Counts.Since(from.Counts)), root.Drops-before
			if qdisc == 0 || math.Abs(float64(counted)-float64(qdisc)) > 3+0.02*float64(qdisc) {
				t.Errorf("%s: %d drops counted, the qdisc says %d", phase.qdisc, counted, qdisc)
			}
		}
		report := diagnose.Diagnose("node1", from, now)
		if f := report.Findings; report.Verdict != diagnose.Fault || string(f[0].Cause) != phase.cause || f[0].Device != podEnd ||
			f[0].Stage != journey.PodQueue || f[0].Direction != journey.Out {
			t.Errorf("%s: verdict %s: %s", phase.qdisc, report.Verdict, report.Summary)
		} else if kind, _, _ := strings.Cut(phase.qdisc, " "); !strings.Contains(f[0].Evidence[0], "is "+kind) || !strings.Contains(report.Summary, "in the pod") {
			t.Errorf("%s: %s; %q", phase.qdisc, report.Summary, f[0].Evidence)
		}
		for _, f := range report.Findings {
			if f.Cause == diagnose.RemoteDelay || f.Cause == diagnose.RemoteLoss {
				t.Errorf("%s: %s", phase.qdisc, f.Sentence())
			}
		}
		c.inPod(lab.Web, "tc qdisc del dev eth0 root")
		time.Sleep(time.Second)
	}
	if counters, err := c.agents[0].loader.Counters(); err != nil || lostSight(counters) > unseen(counters.Started) {
		t.Errorf("%+v, %v", counters, err)
	}
	c.attached(false) // what packets pay for it ends with it
	c.healthy(0, 3*time.Second)
}

// TestPodQueueOfTCP has a pod's connections wait in its own queue: no delay of anybody beyond this node.
func TestPodQueueOfTCP(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 0.1, Size: 90, TCP: 20 * time.Millisecond})
	c.inPod(lab.Web, "tc qdisc add dev eth0 root tbf rate 6kbit burst 2k latency 2s")
	f := c.judged(0, diagnose.QdiscDelay)
	if f.Device != podEnd || f.Stage != journey.PodQueue || f.Direction != journey.Out || len(f.Pairs) == 0 || f.Pairs[0].Src != "default/web" {
		t.Errorf("%+v", f)
	}
	from := c.now(0)
	windows, seen := c.watch(6 * time.Second)
	queue := stages(windows[0], lab.Web, lab.API)[journey.PodQueue]
	got := queue.Delay.Quantile(0.5)
	t.Logf("pod-queue %.4f s (p50), a call %.4f s (p50 of %d)", got, seen.TCP.P50, seen.TCP.Count)
	if got < 0.05 || seen.TCP.Count > 0 && got > seen.TCP.P50 {
		t.Errorf("the queue is measured to hold %v s, calls take %v s", got, seen.TCP.P50)
	}
	report := diagnose.Diagnose("node1", from, c.now(0))
	for _, f := range report.Findings {
		if f.Device != podEnd {
			t.Errorf("besides: %s at %s: %s", f.Cause, f.Device, f.Sentence())
		}
	}
}

// TestPodQueueSplits sends large packets through a pod's queue that splits them. Each segment is counted once, and the first and
// the last of a packet have waited as long as the small packets beside them.
func TestPodQueueSplits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	_, usual := c.watch(time.Second)
	c.inPod(lab.Web, "tc qdisc add dev eth0 root tbf rate 4mbit burst 3k limit 250k")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- lab.Bulk(ctx, web, api, netip.AddrPortFrom(api.Address, 0)) }()
	c.attached(true)
	time.Sleep(2 * time.Second)
	before := c.now(0)
	records, _ := c.agents[0].Subscribe(ctx, func(r *record.Record) bool {
		return r.Kind == record.Finished && r.First.Destination.Addr() == api.Address && r.Len > 2 && r.Hops[0].Hook == record.PodQueue
	})
	var waited []float64
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for r := range records {
			waited = append(waited, (r.Hops[1].Time - r.Hops[0].Time).Seconds())
		}
	}()
	_, seen := c.watch(4 * time.Second)
	after := c.now(0)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	<-counted
	qdisc := podRoot(after, web.Device).Packets - podRoot(before, web.Device).Packets
	var packets float64
	for _, p := range after.Counts.Since(before.Counts).Pairs {
		if p.SrcWorkload == lab.Web {
			packets += p.Packets
		}
	}
	want := seen.Request.Delay.P50 - usual.Request.Delay.P50
	var sum float64
	for _, w := range waited {
		sum += w
	}
	got := sum / float64(max(1, len(waited)))
	t.Logf("%d segments waited %.4f s (mean), small packets beside them %.4f s; %.0f packets counted, the qdisc let %d out", len(waited), got, want, packets, qdisc)
	if len(waited) < 40 || math.Abs(got-want) > 0.2*want+0.01 || want < 0.005 {
		t.Errorf("%d segments are measured to wait %v s, small packets beside them %v s", len(waited), got, want)
	}
	if math.Abs(packets-float64(qdisc)) > 20+0.03*float64(qdisc) {
		t.Errorf("%.0f packets counted, the qdisc let %d out", packets, qdisc)
	}
}

// TestRuleInPod drops packets by rules in the pods: what the one sends, and what the other gets.
func TestRuleInPod(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 50, Size: 90})
	api := c.lab.Service()
	for _, test := range []struct {
		node  int
		pod   string
		hook  string
		match string
		stage journey.Stage
	}{
		{0, lab.Web, "output", "ip daddr " + api.Address.String(), journey.PodQueue},
		{1, lab.API, "input", "meta l4proto udp", journey.Deliver},
	} {
		c.inPod(test.pod, "nft add table ip rules")
		c.inPod(test.pod, "nft add chain ip rules c { type filter hook "+test.hook+" priority 0 ; }")
		c.inPod(test.pod, "nft add rule ip rules c "+test.match+" counter drop")
		f := c.judged(test.node, diagnose.PolicyDrop)
		if f.Device != podEnd || f.Stage != test.stage || len(f.Pairs) == 0 || f.Pairs[0].Src != "default/web" || *f.Drops.Ratio < 0.4 {
			t.Errorf("%s: %+v", test.hook, f)
		}
		c.inPod(test.pod, "nft delete table ip rules")
		time.Sleep(2 * time.Second)
	}
	if c.agents[0].loader.TracepointAttached("net_dev_queue") {
		t.Error("a rule is no queue, and net_dev_queue is attached")
	}
}
