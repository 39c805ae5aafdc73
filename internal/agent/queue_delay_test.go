package agent

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/netdev"
	"tracer/test/steady"
)

// TestQueueDelay compares what a queue is measured to hold with what the application's clock says, and the drops
// with the qdisc's own count.
func TestQueueDelay(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, lab.DefaultLoad())
			_, usual := c.watch(2 * time.Second)
			loss := 0.1
			if !steady.InGuest() {
				loss = 0.3 // without netem a rate that much below the load: the queue soon fills again where the load had no CPU
			}
			injected, err := c.lab.Fault(lab.Fault{Delay: delay, Loss: loss})
			if err != nil {
				t.Fatal(err)
			}
			c.settled(0.9*injected.Expected.Delay, func(r lab.Report) float64 { return r.Request.Delay.P50 })
			from := c.now(0)
			windows, seen := c.watch(6 * time.Second)
			queue := stages(windows[0], lab.Web, lab.API)[journey.Queue]
			// The rest of the way takes its usual time, give or take what it usually varies by: on an emulated machine
			// that is milliseconds, here nothing.
			noise := usual.Request.Delay.P99 - usual.Request.Delay.P50
			got, want := queue.Delay.Quantile(0.5), seen.Request.Delay.P50-usual.Request.Delay.P50
			t.Logf("queue held %.4f s (p50), one way took %.4f s more than usual", got, want)
			if math.Abs(got-want) > 0.1*want+noise {
				t.Errorf("the queue is measured to hold %v s, by the application's clock it is %v s", got, want)
			}
			if want < 0.5*delay.Seconds() {
				t.Fatalf("the fault is not what it should be: %v s", want)
			}
			for stage, d := range stages(windows[0], lab.Web, lab.API) {
				if stage != journey.Queue && d.Delay.Quantile(0.5) > 0.05*want {
					t.Errorf("stage %s took %v s, though the queue alone is slow", stage, d.Delay.Quantile(0.5))
				}
			}
			// Both count on while they are read, a few times a second: at some moment they agree, or one is wrong.
			c.eventually(10*time.Second, "drops as the qdisc counts them", func() (bool, string) {
				m := c.now(0)
				var counted uint64
				for _, d := range m.Counts.Drops {
					if d.Device == c.lab.OverlayDevice() && d.Stage == journey.Queue {
						counted += d.Packets
					}
				}
				qdisc := rootOf(m.Devices, c.lab.OverlayDevice()).Drops
				return max(counted, qdisc)-min(counted, qdisc) <= unseen(qdisc) && counted > 0, fmt.Sprintf("%d counted, the qdisc says %d", counted, qdisc)
			})
			c.looks(lab.Web, lab.API)
			report := diagnose.Diagnose("node1", from, c.now(0))
			if report.Verdict != diagnose.Fault || report.Findings[0].Device != c.lab.OverlayDevice() || report.Findings[0].Stage != journey.Queue {
				t.Errorf("verdict %s: %s; want a fault of the queue of %s", report.Verdict, report.Summary, c.lab.OverlayDevice())
			}
			// The other node may say that answers come late, or that its own segments or their acknowledgements are lost, as some
			// of the acknowledgements are; and nothing of its own devices.
			beyond := []diagnose.Cause{diagnose.RemoteDelay, diagnose.RemoteLoss}
			for _, f := range diagnose.Diagnose("node2", diagnose.Snapshot{Counts: &aggregate.Snapshot{}}, c.now(1)).Findings {
				if !slices.Contains(beyond, f.Cause) {
					t.Errorf("the other node finds %s at %s: %s", f.Cause, f.Device, f.Sentence())
				}
			}
		})
	}
}

// rootOf is a device's root qdisc, as the agent reads it.
func rootOf(devices []netdev.Device, name string) netdev.Qdisc {
	for _, d := range devices {
		if d.Name == name {
			return d.Root
		}
	}
	return netdev.Qdisc{}
}

// TestNothingComesOut has a queue that holds packets longer than anybody watches.
func TestNothingComesOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 100, Size: 90})
	if _, err := c.lab.Fault(lab.Fault{Delay: 20 * time.Second, Rate: 50_000}); err != nil {
		t.Fatal(err)
	}
	oldest := func() float64 {
		var oldest float64
		for _, h := range c.now(0).Counts.InFlight {
			if h.Device == c.lab.OverlayDevice() && h.Stage == journey.Queue {
				oldest = max(oldest, h.Oldest)
			}
		}
		return oldest
	}
	for _, age := range []float64{1, 2, 4} {
		c.eventually(30*time.Second, fmt.Sprintf("packets held for %v s", age), func() (bool, string) {
			now := oldest()
			return now > age, fmt.Sprintf("the oldest is held for %v s", now)
		})
	}
	from := c.agents[0].SnapshotBefore(2 * time.Second)
	report := diagnose.Diagnose("node1", from, c.now(0))
	if report.Verdict != diagnose.Fault || report.Findings[0].Cause != "qdisc-delay" || report.Findings[0].Device != c.lab.OverlayDevice() {
		t.Errorf("verdict %s: %s; want a fault: qdisc-delay at %s", report.Verdict, report.Summary, c.lab.OverlayDevice())
	}
}
