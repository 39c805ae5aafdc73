// Package npd runs deploy/node-problem-detector.json by node-problem-detector's own code.
package npd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/node-problem-detector/pkg/custompluginmonitor"
	"k8s.io/node-problem-detector/pkg/types"

	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/netdev"
)

// agent stands for one that answers what it is told to, at the socket that the check asks.
type agent struct {
	active atomic.Pointer[api.ActiveFindings] // nil: it does not answer
}

// answer is one of its answers.
type answer struct {
	api.Source
	active api.ActiveFindings
}

// ActiveFindings are as of now: what is critical has been so for four and a half minutes.
func (a answer) ActiveFindings() api.ActiveFindings {
	a.active.Judged = time.Now()
	a.active.Findings = slices.Clone(a.active.Findings)
	for i := range a.active.Findings {
		a.active.Findings[i].CriticalSince = a.active.Judged.Add(-270 * time.Second)
	}
	return a.active
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	active := a.active.Load()
	if active == nil {
		<-r.Context().Done()
		return
	}
	api.Handler(answer{active: *active}, nil, nil).ServeHTTP(w, r)
}

// listen has the agent answer at a socket until the test ends.
func (a *agent) listen(t *testing.T, socket string) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the agent's socket: %v", err)
		}
	})
}

// config is what is deployed but for where the program and its socket are, and how often it runs.
func config(t *testing.T, program, runDir string) string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/node-problem-detector.json")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"/opt/tracer/tracer"`:     fmt.Sprintf("%q", program),
		`"--check"`:                fmt.Sprintf(`"--check", "--run-dir", %q`, runDir),
		`"invoke_interval": "30s"`: `"invoke_interval": "100ms"`,
	} {
		if bytes.Count(data, []byte(from)) != 1 {
			t.Fatalf("%s is not once in what is deployed", from)
		}
		data = bytes.Replace(data, []byte(from), []byte(to), 1)
	}
	file := filepath.Join(t.TempDir(), "node-problem-detector.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// build builds the program as it is shipped.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tracer")
	cmd := exec.Command("go", "build", "-C", "../..", "-tags", "nolab", "-o", program, "./cmd/tracer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// TestCondition has node-problem-detector run the check as it is deployed while the agent answers one thing after another, is gone and
// comes back. Whatever it says first comes from the check: until then nobody knows how the node is.
func TestCondition(t *testing.T) {
	runDir := t.TempDir()
	p50, little := 0.5014, 0.3
	healthy := &api.ActiveFindings{}
	fault := &api.ActiveFindings{Findings: []api.ActiveFinding{{Role: netdev.RoleOverlay, ActiveFinding: diagnose.ActiveFinding{
		Finding: diagnose.Finding{Cause: diagnose.QdiscDelay, Severity: diagnose.Critical, Device: "tunl0", Delay: &diagnose.Delay{P50: &p50}},
	}}}}
	blind := &api.ActiveFindings{Coverage: []diagnose.Coverage{{Device: "eth0", Direction: "in", Ratio: &little}}}
	monitor := custompluginmonitor.NewCustomPluginMonitorOrDie(config(t, build(t), runDir))
	a := &agent{}
	a.active.Store(fault)
	socket := filepath.Join(runDir, "agent.sock")
	a.listen(t, socket)
	rename := func(from, to string) { // and no check is cut short by it
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	statuses, err := monitor.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Stop()
	for i, step := range []struct {
		why             string
		change          func()
		status          types.ConditionStatus
		reason, message string
	}{
		{"at fault from the start", func() {}, types.True, "OverlayIsDegraded", "tunl0 qdisc-delay 501 ms for 4m0s; see tracer diagnose"},
		{"well again", func() { a.active.Store(healthy) }, types.False, "NoOverlayFaultSeen", "overlay and uplink are fine"},
		{"too little seen", func() { a.active.Store(blind) }, types.Unknown, "NoOverlayFaultSeen", "30 %"},
		{"at fault", func() { a.active.Store(fault) }, types.True, "OverlayIsDegraded", "tunl0 qdisc-delay 501 ms"},
		{"gone", func() { rename(socket, socket+".gone") }, types.Unknown, "NoOverlayFaultSeen", "no tracer agent runs here"},
		{"back, and well", func() { a.active.Store(healthy); rename(socket+".gone", socket) }, types.False, "NoOverlayFaultSeen", "overlay and uplink are fine"},
		{"hung", func() { a.active.Store(nil) }, types.Unknown, "NoOverlayFaultSeen", "the tracer agent does not answer in time"},
		{"at fault again", func() { a.active.Store(fault) }, types.True, "OverlayIsDegraded", "tunl0 qdisc-delay 501 ms"},
	} {
		step.change()
		await(t, step.why, statuses, i == 0, types.Condition{Status: step.status, Reason: step.reason, Message: step.message})
	}
}

// await reads what node-problem-detector would set until it is as wanted; the first that it sets, if only that may come. A check that this
// machine gives no time says so, and counts for nothing.
func await(t *testing.T, why string, statuses <-chan *types.Status, first bool, want types.Condition) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got types.Condition
	for {
		select {
		case status := <-statuses:
			if status.Source != "tracer" || len(status.Conditions) != 1 || status.Conditions[0].Type != "OverlayDegraded" {
				data, _ := json.Marshal(status)
				t.Fatalf("it sets %s", data)
			}
			got = status.Conditions[0]
			if got.Status == want.Status && got.Reason == want.Reason && strings.Contains(got.Message, want.Message) {
				return
			}
			if late := got.Status == types.Unknown && (strings.Contains(got.Message, "in time") || strings.Contains(got.Message, "Timeout")); first && !late {
				t.Fatalf("%s: the first condition is %s, %s, %q", why, got.Status, got.Reason, got.Message)
			}
		case <-ctx.Done():
			t.Fatalf("%s: within a minute the condition was last %s, %s, %q, want %s, %s, %q", why, got.Status, got.Reason, got.Message, want.Status, want.Reason, want.Message)
		}
	}
}
