package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/overview"
	"tracer/test/steady"
)

// TestIncident has an agent meet a slow queue, kills it, heals the queue, and starts the agent again: what was wrong is told as it was.
func TestIncident(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	dir := t.TempDir()
	l, err := lab.Up(t.Context(), lab.Options{
		Name: labName(t), RunDir: filepath.Join(dir, "lab"), Load: load.Config{Rate: 50, Size: 90},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	state := filepath.Join(dir, "state")
	kept := filepath.Join(state, "incidents")
	start := func() (*exec.Cmd, *logBuffer) {
		t.Helper()
		agent := tracer("agent", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--run-dir", filepath.Join(dir, "lab"),
			"--state-dir", state, "--node-name", "node1")
		log := &logBuffer{}
		agent.Stderr = log
		if err := l.Node(1).Do(agent.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = agent.Process.Kill() // if the test failed
			_ = agent.Wait()
		})
		return agent, log
	}
	until := func(what string, log *logBuffer, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited too long for %s: %s", what, log)
			}
		}
	}
	agent, log := start()
	until("the start", log, func() bool { return strings.Contains(log.String(), "tracing started") })
	fault, err := l.Fault(lab.Fault{Delay: 300 * time.Millisecond, Loss: 0.25}) // a rate that much below the load: the queue fills with less of a CPU too
	if err != nil {
		t.Fatal(err)
	}
	until("an incident", log, func() bool { return strings.Contains(log.String(), "an incident is kept") })
	file := func() string {
		files, err := filepath.Glob(filepath.Join(kept, "*.jsonl"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%v, %v in %s", files, err, kept)
		}
		return files[0]
	}()
	begun, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	until("a frame more", log, func() bool {
		now, err := os.Stat(file)
		return err == nil && now.Size() > begun.Size()
	})
	asksOfFault(t, l, filepath.Join(dir, "lab"), fault.Device)
	if err := agent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	if err := l.Heal(); err != nil {
		t.Fatal(err)
	}
	_, log = start()
	until("the second start", log, func() bool { return strings.Contains(log.String(), "tracing started") })

	run := func(args ...string) []byte {
		t.Helper()
		cmd := tracer(append(args, "--incidents-dir", kept)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, stderr.String())
		}
		return out
	}
	id := strings.TrimSuffix(filepath.Base(file), ".jsonl")
	if list := string(run("incidents")); !strings.Contains(list, id) || !strings.Contains(list, "node1") || !strings.Contains(list, fault.Device) {
		t.Errorf("the list:\n%s", list)
	}
	shown := string(run("incidents", "show", id))
	t.Log(shown)
	for _, want := range []string{"FAULT: ", "critical  qdisc-delay: queue at " + fault.Device, fault.Device + " root qdisc", "qdisc-delay begins: ", "The slowest journeys"} {
		if !strings.Contains(shown, want) {
			t.Errorf("what is shown lacks %q", want)
		}
	}
	var o overview.Overview
	if err := json.Unmarshal(run("top", "--replay", id, "--once", "-o", "json"), &o); err != nil {
		t.Fatal(err)
	}
	if o.Verdict != diagnose.Fault || o.Node != "node1" || len(o.Rows) == 0 || o.Rows[0].Path == nil || o.Rows[0].Path.P50 < 0.02 {
		t.Errorf("replayed: %+v", o)
	}
	if o.HooksUp == 0 || o.SampleRatio <= 0 || o.SeenUnknown || o.PacketsPerSecond <= 0 || o.PairsCounted == 0 || o.VolumeUnknown {
		t.Errorf("replayed figures: %+v, %v packets/s of %d pairs", o.About, o.PacketsPerSecond, o.PairsCounted)
	}
	redacted := run("incidents", "export", id, "--redact")
	for _, n := range l.Pods() {
		for _, secret := range []string{n.Name, n.Address.String()} {
			if bytes.Contains(redacted, []byte(`"`+secret)) {
				t.Errorf("%q is in the redacted file", secret)
			}
		}
	}
	export := filepath.Join(dir, "elsewhere.jsonl")
	if err := os.WriteFile(export, redacted, 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := string(run("incidents", "show", export))
	if !strings.Contains(elsewhere, "critical  qdisc-delay: queue at "+fault.Device) || !strings.Contains(elsewhere, "workload-") {
		t.Errorf("elsewhere:\n%s", elsewhere)
	}
}
