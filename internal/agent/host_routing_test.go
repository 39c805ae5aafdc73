package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/test/steady"
)

// TestHostRouting follows packets that programs route past the node's stack: what is not seen is said, what is counted is right,
// a healthy cluster is healthy, and a slow queue is found.
func TestHostRouting(t *testing.T) {
	t.Parallel()
	for name, o := range lab.HostRouted() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Load = load.Config{Rate: 80, Size: 90, TCP: 20 * time.Millisecond}
			c := newLabCluster(t, o, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3})
			if c == nil {
				mustLackNetkit(t)
				return
			}
			web, _ := c.lab.Pod(lab.Web)
			api, _ := c.lab.Pod(lab.API)
			// Where pods are reached past their devices is learned.
			for node := range c.agents {
				c.eventually(30*time.Second, "all is seen, or said to be unseen", func() (bool, string) {
					r := c.diagnosed(node, 2*time.Second)
					unsaid := c.unsaid(node, &r)
					return r.Verdict == diagnose.Healthy && unsaid == "", string(r.Verdict) + " " + unsaid
				})
			}
			const n, headers = 300, 20 + 8
			const shortest, longest = headers + float64(len("datagram 0")), headers + float64(len("datagram 299"))
			to := netip.AddrPortFrom(api.Address, 7777)
			c.converse(web, n, api.Do, to)
			for node := range c.agents {
				for _, there := range []bool{true, false} {
					c.eventually(10*time.Second, "datagrams", func() (bool, string) {
						var packets, bytes float64
						for _, f := range c.now(node).Counts.Flows {
							if there && f.Last.Destination == to || !there && f.First.Source == to {
								packets += f.Packets
								bytes += f.Bytes
							}
						}
						ok := packets <= n && packets >= n-float64(unseen(n)) && bytes > packets*shortest && bytes < packets*longest
						return ok, fmt.Sprintf("node %d, there %v: %v of %d, %v bytes", node+1, there, packets, n, bytes)
					})
				}
			}
			for node := range c.agents {
				var r diagnose.Report
				steady.Repeat(c, func() string {
					r = c.diagnosed(node, 3*time.Second)
					if found := exceptBusy(r.Findings); r.Verdict == diagnose.Blind || r.Verdict == diagnose.NoTraffic || len(found) > 0 {
						return fmt.Sprintf("node %d: %s: %s", node+1, r.Verdict, r.Summary)
					}
					return ""
				})
				if unsaid := c.unsaid(node, &r); unsaid != "" {
					t.Errorf("node %d: %s", node+1, unsaid)
				}
				for _, row := range r.Coverage {
					if row.Seen+unseen(row.DevicePackets) < row.DevicePackets && !row.Low() {
						t.Errorf("node %d: %s %s: %d packets seen, the device counted %d", node+1, row.Device, row.Direction, row.Seen, row.DevicePackets)
					}
				}
			}
			before := c.now(1).Counts
			c.eventually(30*time.Second, "20 packets forwarded to the pod's socket", func() (bool, string) {
				d := stages(c.now(1).Counts.Since(before), lab.Web, lab.API)[journey.Forward]
				return d.Device == "pod" && d.Delay.Count() >= 20, fmt.Sprintf("%+v with %d packets", d.StageKey, d.Delay.Count())
			})
			if _, err := c.lab.Fault(lab.Fault{Rate: 60_000, Delay: 400 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			c.eventually(30*time.Second, "the slow queue is found", func() (bool, string) {
				r := c.diagnosed(0, 2*time.Second)
				if r.Verdict != diagnose.Fault {
					return false, string(r.Verdict)
				}
				f := r.Findings[0]
				return f.Device == c.lab.OverlayDevice() && slices.Contains([]diagnose.Cause{"qdisc-delay", "qdisc-drop"}, f.Cause), f.Sentence()
			})
		})
	}
}

// mustLackNetkit fails in an emulated machine whose kernel must have netkit: those from 6.7 on have it, those from 6.6 on TCX.
func mustLackNetkit(t *testing.T) {
	t.Helper()
	features, err := loader.ProbeFeatures()
	if err != nil {
		t.Fatal(err)
	}
	if features.TCX {
		(&pairOfNodes{T: t}).mustBeHost()
	}
}

// unsaid is what of a node's packets was neither seen nor is named by `tracer check`.
func (c *cluster) unsaid(node int, r *diagnose.Report) string {
	_, omitted := c.agents[node].Hooks()
	for i := range r.Coverage {
		row := &r.Coverage[i]
		if !row.Low() {
			continue
		}
		said := false
		for _, o := range omitted {
			for _, d := range c.agents[node].KnownDevices() {
				said = said || d.Name == o.Device && d.Role.Label(d.Name) == row.Device && d.Kind == "netkit"
			}
		}
		if !said {
			return row.Sentence()
		}
	}
	return ""
}
