package lab

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func startSleeper(t *testing.T) process {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() { _ = cmd.Wait() }()
	started, _, err := procStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p := process{Part: "sleeper", PID: cmd.Process.Pid, Started: started, Args: []string{"sleep", "1000"}}
	waitUntil(t, 5*time.Second, "sleep to be executed", func() (bool, error) { return p.running(), nil })
	return p
}

func TestStop(t *testing.T) {
	t.Parallel()
	p := startSleeper(t)
	if err := p.stop(2 * time.Second); err != nil {
		t.Error(err)
	}
	if p.running() {
		t.Error("it still runs")
	}
	if err := p.stop(time.Second); err != nil {
		t.Errorf("stop of a process that ended: %v", err)
	}
}

// A number that went to another process must not cost that one its life.
func TestStopSparesOthers(t *testing.T) {
	t.Parallel()
	p := startSleeper(t)
	for name, other := range map[string]process{
		"another start time":   {Part: "x", PID: p.PID, Started: p.Started + 1, Args: p.Args},
		"another command line": {Part: "x", PID: p.PID, Started: p.Started, Args: []string{"sleep", "1001"}},
	} {
		if other.running() {
			t.Errorf("%s: taken for the recorded process", name)
		}
		if err := other.stop(time.Second); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !p.running() {
			t.Fatalf("%s: it was killed", name)
		}
	}
}

func TestProcStatOfThisProcess(t *testing.T) {
	t.Parallel()
	started, state, err := procStat(os.Getpid())
	if err != nil || started == 0 || state == 0 {
		t.Errorf("procStat = %d, %c, %v", started, state, err)
	}
	if _, _, err := procStat(1 << 30); err == nil {
		t.Error("procStat of no process has no error")
	}
}
