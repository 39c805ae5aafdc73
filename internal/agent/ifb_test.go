package agent

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// TestIFB limits what a pod sends as the CNI's bandwidth plugin does: what comes in at its device is redirected to an ifb with a tbf. The
// time in there is that queue's and not the forwarding's, and so are the drops.
func TestIFB(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 50, Size: 500})
	web, _ := c.lab.Pod(lab.Web)
	node := c.lab.Node(1)
	for _, command := range [][]string{
		{"ip", "link", "add", "ifb0", "type", "ifb"},
		{"ip", "link", "set", "ifb0", "up"},
		{"tc", "qdisc", "add", "dev", "ifb0", "root", "tbf", "rate", "150kbit", "burst", "1600", "latency", "300ms"},
	} {
		c.run(node.Netns, "", command...)
	}
	c.redirectIngress(node.Netns, web.Device, "ifb0")
	var before diagnose.Snapshot
	c.eventually(20*time.Second, "packets that waited at the ifb", func() (bool, string) {
		before = c.now(0)
		d := stages(before.Counts, lab.Web, lab.API)[journey.Queue]
		return d.Device == "ifb0" && d.Delay.Quantile(0.9) > 0.1, fmt.Sprintf("%+v p90 %v", d.StageKey, d.Delay.Quantile(0.9))
	})
	time.Sleep(3 * time.Second)
	after := c.now(0)
	got := stages(after.Counts.Since(before.Counts), lab.Web, lab.API)
	if d := got[journey.Queue]; d.Device != "ifb0" || d.Direction != journey.Out || d.Delay.Quantile(0.5) < 0.15 {
		t.Errorf("queue %+v, p50 %v", d.StageKey, d.Delay.Quantile(0.5))
	}
	if d := got[journey.Forward]; d.Delay.Count() < 20 || d.Delay.Quantile(0.5) > 0.01 {
		t.Errorf("forward %+v: p50 %v of %d packets: the wait at the ifb is not its", d.StageKey, d.Delay.Quantile(0.5), d.Delay.Count())
	}
	report := diagnose.Diagnose("node1", before, after)
	found := map[diagnose.Cause]bool{}
	for _, f := range report.Findings {
		if f.Device == "ifb0" && f.Stage == journey.Queue && f.Direction == journey.Out && f.PairsTotal > 0 && f.Pairs[0].Src == "default/"+lab.Web {
			found[f.Cause] = true
		} else {
			t.Errorf("%s at %s of %s beside it", f.Cause, f.Device, f.Stage)
		}
	}
	if !found[diagnose.QdiscDelay] || !found[diagnose.QdiscDrop] {
		t.Errorf("found %v: %s", found, report.Summary)
	}
}

// redirectIngress redirects all that comes in at a device to another one, by a filter behind ours.
func (c *cluster) redirectIngress(ns lab.Namespace, from, to string) {
	c.Helper()
	c.run(ns, "", "tc", "qdisc", "replace", "dev", from, "clsact")
	c.run(ns, "", "tc", "filter", "add", "dev", from, "ingress", "protocol", "all", "prio", "10", "u32", "match", "u32", "0", "0",
		"action", "mirred", "egress", "redirect", "dev", to)
}
