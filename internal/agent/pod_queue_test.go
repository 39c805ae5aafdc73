package agent

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/governor"
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

// compareWithLog follows web's datagrams, and at the end compares each with what the application has noted of it: it was at the
// pod's queue when it was sent, and at the pod's device on the node hardly before it arrived.
func (c *cluster) compareWithLog() (end func()) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	records, _ := c.agents[0].Subscribe(ctx, func(r *record.Record) bool {
		return r.Kind == record.Finished && r.First.Protocol == unix.IPPROTO_UDP && r.Hops[0].Hook == record.PodQueue && r.First.Destination.Addr() == c.lab.Service().Address
	})
	var seen []record.Record
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range records {
			seen = append(seen, r)
		}
	}()
	return func() {
		c.Helper()
		stop()
		<-done
		var entries []load.Entry
		c.eventually(10*time.Second, "the application's log has the last packet", func() (bool, string) {
			var err error
			if entries, err = c.received(); err != nil {
				c.Fatal(err)
			}
			var last time.Duration
			for _, e := range entries {
				last = max(last, e.Arrived)
			}
			return len(seen) == 0 || last > seen[len(seen)-1].Hops[1].Time, fmt.Sprintf("%d entries, to %v", len(entries), last)
		})
		var late, off []time.Duration
		for _, r := range seen {
			queued, out := r.Hops[0].Time, r.Hops[1].Time
			after, _ := slices.BinarySearchFunc(entries, queued, func(e load.Entry, t time.Duration) int { return cmp.Compare(e.Sent, t) })
			if after == 0 || queued-entries[after-1].Sent > 15*time.Millisecond { // of one that was lost behind, or is not read yet
				continue
			}
			e := entries[after-1]
			late = append(late, queued-e.Sent)
			off = append(off, (e.Arrived-e.Sent)-(out-queued))
		}
		slices.Sort(late)
		slices.Sort(off)
		if len(late) < 50 || len(late) < len(seen)*8/10 {
			c.Errorf("%d of %d packets are in the application's log", len(late), len(seen))
			return
		}
		c.Logf("packet by packet, %d of %d: enqueued %v after it was sent (p50), %v (p90); the way took %v more than the queue (p50), %v (p90)",
			len(late), len(seen), late[len(late)/2], late[len(late)*9/10], off[len(off)/2], off[len(off)*9/10])
		if late[len(late)*9/10] > 2*time.Millisecond || off[0] < 0 || off[len(off)*9/10] > 5*time.Millisecond {
			c.Errorf("the queue's times are not the application's: enqueued up to %v after it was sent, the way took %v to %v more than the queue",
				late[len(late)-1], off[0], off[len(off)-1])
		}
	}
}

// received are web's datagrams that api has received, in the order in which they were sent.
func (c *cluster) received() ([]load.Entry, error) {
	logs, err := filepath.Glob(filepath.Join(c.dir, "lab", "*", "*", load.Requests))
	if err != nil || len(logs) != 1 {
		return nil, fmt.Errorf("logs %q, %w", logs, err)
	}
	entries, err := load.ReadLog(logs[0], 0)
	slices.SortFunc(entries, func(x, y load.Entry) int { return cmp.Compare(x.Sent, y.Sent) })
	return entries, err
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
	lost := func(d aggregate.DropCount) bool { return d.Loss }
	if windows, _ := c.watch(time.Second); c.agents[0].loader.TracepointAttached("net_dev_queue") || slices.ContainsFunc(windows[0].Drops, lost) {
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
		c.eventually(20*time.Second, phase.qdisc+": it has filled", func() (bool, string) {
			q := podRoot(c.now(0), web.Device)
			return q.Packets > 0 && (phase.loss == 0 || q.Drops > 0), fmt.Sprintf("%+v", q)
		})
		from := c.now(0)
		agree := c.compareWithLog()
		windows, seen := c.watch(6 * time.Second)
		agree()
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
		if math.Abs(share-seen.Request.LossRatio) > 0.07 || share < phase.loss/2 {
			t.Errorf("%s: %d of %d packets lost, by the application %.0f%%", phase.qdisc, lost, lost+passed, 100*seen.Request.LossRatio)
		}
		for stage, d := range stages(windows[0], lab.Web, lab.API) {
			if stage != journey.PodQueue && phase.delay > 0 && d.Delay.Quantile(0.5) > 0.1*want {
				t.Errorf("%s: stage %s took %v s", phase.qdisc, stage, d.Delay.Quantile(0.5))
			}
		}
		now := c.now(0)
		if phase.loss > 0 {
			c.eventually(10*time.Second, phase.qdisc+": drops as the qdisc counts them", func() (bool, string) {
				now = c.now(0)
				counted, qdisc := inPodQueue(now.Counts.Since(from.Counts)), podRoot(now, web.Device).Drops-podRoot(from, web.Device).Drops
				agree := math.Abs(float64(counted)-float64(qdisc)) <= 3+0.02*float64(qdisc)
				return qdisc > 0 && agree, fmt.Sprintf("%d counted, the qdisc says %d", counted, qdisc)
			})
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
		c.eventually(20*time.Second, phase.qdisc+": it has gone", func() (bool, string) {
			q := podRoot(c.now(0), web.Device)
			return !q.Queues(), fmt.Sprintf("%+v", q)
		})
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
	c.attached(true)
	before := c.now(0) // when little is on its way: records are read later than the qdisc's counters
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- lab.Bulk(ctx, web, api, netip.AddrPortFrom(api.Address, 0)) }()
	c.eventually(20*time.Second, "bulk has filled the queue, and what filled it at first is gone", func() (bool, string) {
		q := podRoot(c.now(0), web.Device)
		return q.Bytes > 4*q.Limit && q.Limit > 0, fmt.Sprintf("%+v", q)
	})
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
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	<-counted
	want := seen.Request.Delay.P50 - usual.Request.Delay.P50
	var sum float64
	for _, w := range waited {
		sum += w
	}
	got := sum / float64(max(1, len(waited)))
	t.Logf("%d segments waited %.4f s (mean), small packets beside them %.4f s", len(waited), got, want)
	if len(waited) < 40 || math.Abs(got-want) > 0.2*want+0.01 || want < 0.005 {
		t.Errorf("%d segments are measured to wait %v s, small packets beside them %v s", len(waited), got, want)
	}
	c.eventually(10*time.Second, "packets as the qdisc counts them", func() (bool, string) {
		after := c.now(0)
		qdisc := podRoot(after, web.Device).Packets - podRoot(before, web.Device).Packets
		var packets float64
		for _, p := range after.Counts.Since(before.Counts).Pairs {
			if p.SrcWorkload == lab.Web {
				packets += p.Packets
			}
		}
		return qdisc > 100 && math.Abs(packets-float64(qdisc)) <= 20+0.03*float64(qdisc), fmt.Sprintf("%.0f counted, the qdisc let %d out", packets, qdisc)
	})
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
	}
	if c.agents[0].loader.TracepointAttached("net_dev_queue") {
		t.Error("a rule is no queue, and net_dev_queue is attached")
	}
}

// TestPodQueueSampled has packets sampled at a pod's own queue: what was decided there holds at the hooks behind it, so that
// counts stay right.
func TestPodQueueSampled(t *testing.T) {
	t.Parallel()
	c := newLimitedCluster(t, load.Config{Rate: 400, Size: 90}, governor.Limits{MaxRecords: 150, MaxCPU: 1e3})
	web, _ := c.lab.Pod(lab.Web)
	c.inPod(lab.Web, "tc qdisc add dev eth0 root tbf rate 330kbit burst 2k latency 200ms") // a little less than is sent
	c.attached(true)
	c.sampled(0)
	from := c.now(0)
	before, err := c.agents[0].loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(15 * time.Second)
	to := c.now(0)
	after, err := c.agents[0].loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	passed := podRoot(to, web.Device).Packets - podRoot(from, web.Device).Packets
	var packets float64
	for _, p := range to.Counts.Since(from.Counts).Pairs {
		if p.SrcWorkload == lab.Web {
			packets += p.Packets
		}
	}
	queue := stages(to.Counts.Since(from.Counts), lab.Web, lab.API)[journey.PodQueue]
	unsampled := after.Unsampled - before.Unsampled
	t.Logf("%d unsampled; %.0f packets counted, the qdisc let %d out; %d timed, p50 %.3f s", unsampled, packets, passed, queue.Delay.Count(), queue.Delay.Quantile(0.5))
	if unsampled < passed/4 {
		t.Errorf("%d packets were not sampled, of %d", unsampled, passed)
	}
	if math.Abs(packets-float64(passed)) > 0.2*float64(passed) || math.Abs(float64(queue.Delay.Count())-float64(passed)) > 0.2*float64(passed) {
		t.Errorf("%.0f packets counted, %d of them timed, the qdisc let %d out", packets, queue.Delay.Count(), passed)
	}
	if n := after.NoIngress - before.NoIngress; n > 0 {
		t.Errorf("%d packets were taken for such whose ingress was missed", n)
	}
}
