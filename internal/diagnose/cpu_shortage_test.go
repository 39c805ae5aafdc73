package diagnose

import (
	"strings"
	"testing"

	"tracer/internal/record"
)

// ticks are what two CPUs did in 15 seconds, one of them as given.
func ticks(idle, softirq, steal uint64) []record.CPUTime {
	return []record.CPUTime{{All: 1500, Idle: 1200, Softirq: 50}, {All: 1500, Idle: idle, Softirq: softirq, Steal: steal}}
}

// TestCPUShortage tells whether something kept CPUs from packets.
func TestCPUShortage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cpus []record.CPUTime
		want string
	}{
		"well":              {ticks(1000, 200, 20), ""},
		"busy":              {ticks(0, 100, 0), ""},
		"stolen":            {ticks(600, 100, 400), "the hypervisor took 13 % of the CPU time in the window (steal in /proc/stat)"},
		"stolen of one":     {[]record.CPUTime{{All: 15000, Idle: 14000}, {All: 1500, Idle: 600, Steal: 400}}, "the hypervisor took 27 % of the time of CPU 1 in the window (steal in /proc/stat)"},
		"all busy":          {[]record.CPUTime{{All: 1500, Idle: 30}, {All: 1500, Idle: 15}}, "the CPUs were idle for 1.5 % of the window (/proc/stat), and softirqs ran out of their budget 9 times (time_squeeze in softnet_stat)"},
		"softirqs fill one": {ticks(10, 1400, 0), "CPU 1 spent 93 % of the window in softirqs and was never idle (/proc/stat), and softirqs ran out of their budget 9 times (time_squeeze in softnet_stat)"},
		"too short":         {[]record.CPUTime{{All: 50}, {All: 50}}, ""},
		"one CPU came":      {ticks(0, 0, 1000)[:1], ""},
	} {
		w := &window{
			from: Snapshot{Stats: record.Stats{CPUs: make([]record.CPUTime, 2), Softnet: &record.Softnet{TimeSqueeze: 1}}},
			to:   Snapshot{Stats: record.Stats{CPUs: test.cpus, Softnet: &record.Softnet{TimeSqueeze: 10}}},
		}
		if _, got := w.cpuShortage(); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestExcusedByCPU lowers what want of CPU explains, and nothing else.
func TestExcusedByCPU(t *testing.T) {
	t.Parallel()
	stolen := []record.CPUTime{{All: 1500, Idle: 700, Steal: 300}, {All: 1500, Idle: 700, Steal: 300}}
	for _, test := range []struct {
		file    string
		cpus    []record.CPUTime
		delay   float64 // of the first pair's first stage; 0: as in the file
		verdict Verdict
	}{
		{"uplink-overloaded", nil, 0, Fault},
		{"uplink-overloaded", ticks(1000, 200, 0), 0, Fault},
		{"uplink-overloaded", stolen, 0, Healthy},
		{"uplink-overloaded", stolen, 0.6, Fault}, // no CPU is away for that long
		{"forward-delay", stolen, 0.02, Healthy},
		{"forward-delay", stolen, 0.2, Fault},
		{"forward-delay", []record.CPUTime{{All: 1500}, {All: 1500}}, 0.02, Fault}, // softirqs need not wait for others
		{"uplink-overloaded", []record.CPUTime{{All: 1500}, {All: 1500}}, 0, Healthy},
		{"overlay-delay-and-loss", stolen, 0, Fault}, // netem needs no excuse
		{"misconfigured-fifo", stolen, 0, Healthy},
	} {
		s := load(t, "testdata/"+test.file+".json")
		s.StatsBefore.CPUs, s.Stats.CPUs = make([]record.CPUTime, 2), test.cpus
		if test.delay > 0 {
			s.Pairs[0].Stages[0].Delay = test.delay
		}
		r := s.snapshots().diagnose()
		if r.Verdict != test.verdict {
			t.Errorf("%s, %v, %v s: %s: %s", test.file, test.cpus, test.delay, r.Verdict, r.Summary)
		}
		says := strings.Contains(strings.Join(r.Findings[0].Evidence, "; "), "the hypervisor took 20 % of the CPU time") ||
			strings.Contains(strings.Join(r.Findings[0].Evidence, "; "), "the CPUs were idle for 0 % of the window")
		if want := test.verdict == Healthy && test.file != "misconfigured-fifo"; want && !says {
			t.Errorf("%s: evidence %q", test.file, r.Findings[0].Evidence)
		}
	}
}

// TestThrottled says of a slow application that its CPU limit holds it back.
func TestThrottled(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"receiver-slow", "accept-queue-silent"} {
		e := load(t, "testdata/"+file+".json").snapshots()
		r := e.diagnose()
		e.to.Throttling = []PodThrottling{
			{Workload: "default/elsewhere", Seconds: 10, Throttling: record.Throttling{Periods: 100, Throttled: 90, Seconds: 9}},
			{Workload: r.Findings[0].Pairs[0].Dst, Seconds: 10, Throttling: record.Throttling{Periods: 100, Throttled: 60, Seconds: 2.5}},
		}
		r = e.diagnose()
		got := strings.Join(r.Findings[0].Evidence, "; ")
		if want := r.Findings[0].Pairs[0].Dst + " is held back by its CPU limit: in 60 of 100 periods in the last 10 s (60 %; nr_throttled in its cgroup's cpu.stat), its threads waited 2.5 s for that"; !strings.Contains(got, want) {
			t.Errorf("%s: %q", file, got)
		}
	}
}
