package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/test/steady"
)

// TestMachineChanges takes a CPU away and sets the wall clock while an agent traces: it counts all packets, finds no fault, and says
// when that was by the clock as it is. (While a machine is suspended the wall clock goes on, and CLOCK_MONOTONIC stands still.) On
// guests alone, as it changes the whole machine.
func TestMachineChanges(t *testing.T) {
	if !steady.InGuest() {
		t.Log("only on a machine of its own: go run ./test/vm -kernel 6.12 -run '^TestMachineChanges$' ./cmd/tracer")
		return
	}
	s := newStarved(t, 200)
	a, from := s.start(":")
	for _, change := range []struct {
		name     string
		do, undo func() error
	}{
		{"a CPU goes", func() error { return online("0") }, func() error { return online("1") }},
		{"the clock is set ahead, as after a suspend", func() error { return stepClock(time.Hour) }, func() error { return stepClock(-time.Hour) }},
		{"the clock is set back", func() error { return stepClock(-24 * time.Hour) }, func() error { return stepClock(24 * time.Hour) }},
	} {
		t.Run(change.name, func(t *testing.T) {
			s.T = t
			if err := change.do(); err != nil {
				t.Fatal(err)
			}
			s.awaitCounts(a, from, 0)
			s.healthy(a)
			if err := change.undo(); err != nil {
				t.Fatal(err)
			}
			s.awaitCounts(a, from, 0)
			s.healthy(a)
		})
	}
	s.T = t
	s.end(a)
}

// healthy asks for the agent's verdict.
func (s starved) healthy(a *agentProcess) {
	s.Helper()
	var report diagnose.Report
	err := s.lab.Node(1).Do(func() error {
		cmd := tracer("diagnose", "--run-dir", a.dir, "--duration", "3s", "-o", "json")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			return err
		}
		return json.Unmarshal(out, &report)
	})
	if err != nil {
		s.Fatal(err)
	}
	if report.Verdict != diagnose.Healthy {
		s.Errorf("the verdict is %s: %+v", report.Verdict, report.Findings)
	}
	if age := time.Since(report.Started); age < 0 || age > time.Minute {
		s.Errorf("the window began %v ago", age)
	}
}

// online takes the second CPU away, or brings it back.
func online(value string) error {
	return os.WriteFile("/sys/devices/system/cpu/cpu1/online", []byte(value), 0o644)
}

// stepClock sets the wall clock.
func stepClock(by time.Duration) error {
	now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
}
