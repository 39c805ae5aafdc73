package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// leave makes a group of a run, with one in it.
func leave(t *testing.T, run string) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(New(t, Limits{CPU: 1}).dirs[0]), nameOf(run))
	if err == nil {
		t.Cleanup(func() { _ = removeSoon(dir) }) // or it is gone, as it should
		err = os.Mkdir(filepath.Join(dir, "inner"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSweep removes what one run has left, and no other's.
func TestSweep(t *testing.T) {
	t.Setenv(Run, "sweep")
	mine, others := leave(t, "sweep1"), leave(t, "sweep11")
	if err := Sweep("sweep1"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mine); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", mine, err)
	}
	if _, err := os.Stat(others); err != nil {
		t.Error(err)
	}
}

// TestSweepEnded removes what is left of runs that have ended.
func TestSweepEnded(t *testing.T) {
	t.Setenv(Run, "sweep")
	namespace, err := processNamespace()
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	run := fmt.Sprintf("%s-%d", namespace, ended.Process.Pid)
	gone, full, elsewhere := leave(t, run), leave(t, run), leave(t, fmt.Sprintf("1-%d", ended.Process.Pid))
	mine, err := NewRun()
	if err != nil {
		t.Fatal(err)
	}
	stays := []string{full, elsewhere, leave(t, mine)}
	sleeper := exec.Command("sleep", "infinity")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() }()
	if err := move([]string{full}, sleeper.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := SweepEnded(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", gone, err)
	}
	for _, dir := range stays {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
}
