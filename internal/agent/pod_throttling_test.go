package agent

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/test/cgroup"
)

// TestPodThrottling has a pod use more CPU than its limit, and looks at it only once its application was found to be slow.
func TestPodThrottling(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 50, Size: 500})
	web, _ := c.lab.Pod(lab.Web)
	// It joins the cgroup before it begins.
	loop := exec.Command("sh", "-c", cgroup.New(t, cgroup.Limits{CPU: 0.05}).Join()+" && while :; do :; done")
	if err := web.Do(loop.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = loop.Process.Kill()
		_ = loop.Wait()
	})
	c.eventually(20*time.Second, "the pod behind its device", func() (bool, string) {
		s := c.now(0)
		for _, d := range s.Devices {
			if d.Workload == "default/"+lab.Web {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", s.Devices)
	})
	if s := c.now(0); s.Throttling != nil {
		t.Errorf("nothing was found, and yet it was read: %+v", s.Throttling)
	}
	c.agents[0].podThrottling.watch([]diagnose.Finding{{
		Cause: diagnose.ReceiverSlow, Pairs: []diagnose.Pair{{Src: "default/" + lab.API, Dst: "default/" + lab.Web}},
	}}, time.Now())
	c.eventually(20*time.Second, "throttling", func() (bool, string) {
		for _, p := range c.now(0).Throttling {
			if p.Workload == "default/"+lab.Web && p.Throttled >= 5 && p.Periods >= p.Throttled && p.Throttling.Seconds > 0.1 {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", c.now(0).Throttling)
	})
}

// TestWatchThrottling looks at the pods of applications that read, accept or answer slowly, and at no others.
func TestWatchThrottling(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for cause, want := range map[diagnose.Cause]bool{
		diagnose.ReceiverSlow: true, diagnose.ServerSlow: true, diagnose.AcceptQueueFull: true, diagnose.QdiscDelay: false,
	} {
		var p podThrottling
		p.watch([]diagnose.Finding{{Cause: cause, Pairs: []diagnose.Pair{{Src: "default/web", Dst: "default/api"}}}}, now)
		if got := now.Before(p.until["default/api"]); got != want || len(p.until) > 1 {
			t.Errorf("%s: watches %v", cause, p.until)
		}
	}
}
