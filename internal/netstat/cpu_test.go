package netstat

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tracer/internal/record"
)

func TestParseCPUs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/stat-steal")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseCPUs(string(text))
	want := []record.CPUTime{{All: 1000, Idle: 410, Softirq: 40, Steal: 250}, {All: 2000, Idle: 0, Softirq: 1900, Steal: 0}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "intr 1 2 3\n", "cpu0 1 2 3\n", "cpu0 1 2 x 4 5 6 7 8 9 10\n"} {
		if _, err := parseCPUs(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestCgroups finds throttling in the layouts of cgroups of versions 1 and 2, and from within a cgroup namespace.
func TestCgroups(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const second = "usage_usec 900\nnr_periods 120\nnr_throttled 60\nthrottled_usec 2500000\n"
	write("proc/1/cgroup", "0::/kubepods.slice/pod1\n")
	write("sys/fs/cgroup/kubepods.slice/pod1/cpu.stat", second)
	write("proc/2/cgroup", "9:name=systemd:/\n2:cpu,cpuacct:/kubepods/pod2\n0::/\n")
	write("sys/fs/cgroup/cpu,cpuacct/kubepods/pod2/cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 3000000000\n")
	write("proc/3/cgroup", "0::/../../pod3\n")
	write("proc/3/root/sys/fs/cgroup/cpu.stat", second)
	write("proc/4/cgroup", "0::/\n")
	write("sys/fs/cgroup/cpu.stat", "usage_usec 900\n") // the root's, without a limit
	write("proc/5/cgroup", "2:memory:/a\n")
	throttled := record.Throttling{Periods: 120, Throttled: 60, Seconds: 2.5}
	for pid, want := range map[string]*record.Throttling{"1": &throttled, "2": {Periods: 10, Throttled: 4, Seconds: 3}, "3": &throttled, "4": nil, "5": nil} {
		got, err := cgroups{root}.throttling(pid)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("process %s: %+v, %v; want %+v", pid, got, err, want)
		}
	}
	write("proc/7/cgroup", "0::/kubepods.slice/pod1\n") // in the same cgroup
	if got, want := (cgroups{root}).sum([]string{"1", "7", "2", "4", "6"}), (record.Throttling{Periods: 130, Throttled: 64, Seconds: 5.5}); got != want {
		t.Errorf("of several processes %+v, want %+v", got, want)
	}
	if _, err := (cgroups{root}).throttling("6"); err == nil {
		t.Error("a process that is gone")
	}
	if _, err := parseCPUStat("nr_periods x\n"); err == nil {
		t.Error("no number was taken")
	}
}
