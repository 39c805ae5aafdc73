package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// looks checks that the live view puts the pair first whose packets the overlay's queue holds, and shows it closely.
func (c *cluster) looks(src, dst string) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	defer stop()
	pair := aggregate.PairKey{SrcNamespace: "default", SrcWorkload: src, DstNamespace: "default", DstWorkload: dst, Direction: journey.Out}
	for _, by := range []overview.By{overview.ByPair, overview.ByFlow} {
		q := overview.Query{By: by, Interval: time.Second, Pair: &pair}
		n := 0
		for o, err := range c.agents[0].Overviews(ctx, q, "node1", func() overview.About { return overview.About{Node: "node1"} }) {
			if err != nil {
				c.Fatal(err)
			}
			if n++; n == 1 {
				if by == overview.ByFlow && o.Rows != nil {
					c.Errorf("%d flows in no time", len(o.Rows))
				}
				continue // what came out since the agent asked for the slowest
			}
			if len(o.Rows) == 0 || o.Rows[0].Src.Workload != src || o.Rows[0].Worst == nil ||
				*o.Rows[0].Worst != (overview.Place{Stage: journey.Queue, Device: c.lab.OverlayDevice()}) {
				c.Errorf("by %s the first row is not %s's: %+v", by, src, o.Rows)
			}
			d := o.Detail
			if d.Row.Key() != pair || len(d.Slowest) == 0 || len(d.InFlight) == 0 || len(d.History) == 0 || d.Slowest[0].TotalSeconds < d.Row.Path.P50/2 {
				c.Errorf("looked at closely: %+v", d)
			}
			i := slices.IndexFunc(o.Devices, func(d overview.Device) bool { return d.Name == c.lab.OverlayDevice() })
			if i < 0 || len(o.Devices[i].Unusual) == 0 || o.Devices[i].TxPackets == 0 {
				c.Errorf("devices %+v", o.Devices)
			}
			break
		}
	}
}

// TestUsableFor: a report is shown to a live view if it is of that node and window, whole, and not old.
func TestUsableFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what        string
		node        string
		made        float64 // the report's window, in seconds
		window, age time.Duration
		want        bool
	}{
		{"as it should be", "node1", 15.2, diagnosisWindow, 6 * time.Second, true},
		{"of an agent that has not been told its node", "", 15.2, diagnosisWindow, 0, false},
		{"of a young agent", "node1", 9.8, diagnosisWindow, 0, false},
		{"of another window", "node1", 60, time.Minute, 0, false},
		{"of an agent that is stuck", "node1", 15.2, diagnosisWindow, 10 * time.Second, false},
	} {
		if got := usableFor(&diagnose.Report{Node: tt.node, WindowSeconds: tt.made}, "node1", tt.window, tt.age); got != tt.want {
			t.Errorf("%s: %v", tt.what, got)
		}
	}
}
