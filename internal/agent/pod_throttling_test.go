package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// TestPodThrottling has a pod use more CPU than its limit, and looks at it only once its application was found to be slow.
func TestPodThrottling(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 50, Size: 500})
	web, _ := c.lab.Pod(lab.Web)
	cgroup := limitedCgroup(t)
	// It joins the cgroup before it begins.
	loop := exec.Command("sh", "-c", "echo $$ >"+cgroup+"/cgroup.procs && while :; do :; done")
	if err := web.Do(loop.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = loop.Process.Kill()
		_ = loop.Wait()
		c.eventually(5*time.Second, "the cgroup to be empty", func() (bool, string) {
			err := os.Remove(cgroup)
			return err == nil, fmt.Sprint(err)
		})
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

// limitedCgroup makes one that has 5 % of a CPU.
func limitedCgroup(t *testing.T) string {
	t.Helper()
	// Guests have none mounted.
	if entries, err := os.ReadDir("/sys/fs/cgroup"); err == nil && len(entries) == 0 {
		if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
			t.Fatalf("mount cgroups: %v", err)
		}
	}
	name := strings.ToLower(fmt.Sprintf("tracer-%s-%d", t.Name(), os.Getpid()))
	for _, version := range []struct {
		root  string
		files map[string]string
	}{
		{"/sys/fs/cgroup/cpu", map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "5000"}},
		{"/sys/fs/cgroup/cpu,cpuacct", map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "5000"}},
		{"/sys/fs/cgroup", map[string]string{"cpu.max": "5000 100000"}},
	} {
		if version.root == "/sys/fs/cgroup" {
			_ = os.WriteFile(version.root+"/cgroup.subtree_control", []byte("+cpu"), 0o644)
		} else if _, err := os.Stat(version.root); err != nil {
			continue
		}
		cgroup := filepath.Join(version.root, name)
		if err := os.Mkdir(cgroup, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range version.files {
			if err := os.WriteFile(filepath.Join(cgroup, file), []byte(text), 0o644); err != nil {
				t.Fatalf("limit a cgroup: %v", err)
			}
		}
		return cgroup
	}
	t.Fatal("no cgroup of CPUs is mounted")
	return ""
}
