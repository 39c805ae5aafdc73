package agent

import (
	"fmt"
	"math"
	"testing"
	"time"

	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// TestSampled follows far fewer packets than there are, and still counts them all and measures their delay right. The
// queue is made to be short at first and long then, so that there are quick packets and slow ones.
func TestSampled(t *testing.T) {
	t.Parallel()
	const most = 500 // records a second
	c := newLimitedCluster(t, load.Config{Rate: 1000, Size: 90}, governor.Limits{MaxRecords: most, MaxCPU: 1e3})
	c.eventually(20*time.Second, "the governor follows fewer packets", func() (bool, string) {
		s := c.agents[0].Steering()
		return s.N > 1, fmt.Sprintf("%+v", s)
	})
	before := c.now(0)
	begin := Monotonic()
	time.Sleep(6 * time.Second)
	if _, err := c.lab.Fault(lab.Fault{Tool: lab.TBF, Delay: 300 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(12 * time.Second)
	window := c.now(0).Snapshot.Since(before.Snapshot)
	end := Monotonic()
	seen, err := c.lab.Oracle(begin, end)
	if err != nil {
		t.Fatal(err)
	}
	records := float64(window.Records) / (end - begin).Seconds()
	t.Logf("%+v: %.0f records a second", c.agents[0].Steering(), records)
	if records > 1.5*most {
		t.Errorf("%.0f records a second, at most %d were wanted", records, most)
	}
	var out float64
	for _, p := range window.Pairs {
		if p.SrcWorkload != lab.Web || p.Direction != journey.Out {
			continue
		}
		out += p.Packets
		// What the path on this node is short of the whole way, is little beside the queue.
		for q, want := range map[float64]float64{0.5: seen.Request.Delay.P50, 0.99: seen.Request.Delay.P99} {
			got := p.Path.Quantile(q)
			t.Logf("quantile %v: %.4f s on this node, %.4f s one way", q, got, want)
			if math.Abs(got-want) > 0.1*want+0.005 {
				t.Errorf("quantile %v of the delay: %v s on this node, %v s one way", q, got, want)
			}
		}
	}
	// Those that were dropped or wait are no packets yet.
	want := float64(seen.Request.Sent - seen.Request.Lost - seen.Request.Pending)
	t.Logf("%.0f packets counted, %.0f arrived", out, want)
	if math.Abs(out-want) > 0.08*want {
		t.Errorf("%.0f packets counted, %.0f arrived", out, want)
	}
}
