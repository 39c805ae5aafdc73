package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestHangs(t *testing.T) {
	t.Parallel()
	m := machine{console: filepath.Join(t.TempDir(), "console")}
	began := time.Now()
	spent := func() time.Duration { return time.Since(began) }
	if !m.hangs(t.Context(), spent, 10*time.Millisecond, time.Millisecond) {
		t.Error("a guest that says nothing was not taken for hung")
	}
	waits, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if m.hangs(waits, func() time.Duration { return time.Second }, 10*time.Millisecond, time.Millisecond) {
		t.Error("a guest that gets no CPU was taken for hung")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for said := ""; len(said) < 20; said += "alive\n" {
			if err := os.WriteFile(m.console, []byte(said), 0o600); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if m.hangs(ctx, spent, 10*time.Second, time.Millisecond) {
		t.Error("a guest that says something was taken for hung")
	}
}

// What a process has taken only grows while it has something to do.
func TestCPUTime(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	spent := cpuTime(cmd.Process.Pid)
	for end := time.Now().Add(time.Minute); spent() < 50*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error("a busy loop has taken no CPU time")
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if got := spent(); got != 0 {
		t.Errorf("a process that has ended has taken %v", got)
	}
}
