package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

func TestConclude(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)
	p50, ratio := 0.5014, 0.076
	finding := func(role netdev.Role, cause diagnose.Cause, severity diagnose.Severity, held time.Duration) api.ActiveFinding {
		h := api.ActiveFinding{Role: role, ActiveFinding: diagnose.ActiveFinding{Since: now.Add(-time.Hour), Finding: diagnose.Finding{
			Cause: cause, Severity: severity, Stage: journey.Queue, Device: "tunl0", Direction: journey.Out,
		}}}
		if severity == diagnose.Critical {
			h.CriticalSince = now.Add(-held)
		}
		if strings.HasSuffix(string(cause), "delay") {
			h.Finding.Delay = &diagnose.Delay{P50: &p50}
		} else {
			h.Finding.Drops = &diagnose.Drops{Ratio: &ratio}
		}
		return h
	}
	const fine = "overlay and uplink are fine"
	for _, test := range []struct {
		why   string
		found []api.ActiveFinding
		code  int
		line  string
	}{
		{"nothing", nil, checkOK, fine},
		{"a slow overlay", []api.ActiveFinding{finding(netdev.RoleOverlay, diagnose.QdiscDelay, diagnose.Critical, 4*time.Minute+30*time.Second)},
			checkProblem, "tunl0 qdisc-delay 501 ms for 4m0s; see tracer diagnose"},
		{"a lossy uplink", []api.ActiveFinding{finding(netdev.RoleUplink, diagnose.QdiscDrop, diagnose.Critical, 3*time.Minute)},
			checkProblem, "tunl0 qdisc-drop 7.6 % for 3m0s; see tracer diagnose"},
		{"not for long enough", []api.ActiveFinding{finding(netdev.RoleOverlay, diagnose.QdiscDelay, diagnose.Critical, 2*time.Minute)}, checkOK, fine},
		{"a warning", []api.ActiveFinding{finding(netdev.RoleOverlay, diagnose.QdiscDelay, diagnose.Warning, time.Hour)}, checkOK, fine},
		{"a pod's device", []api.ActiveFinding{finding(netdev.RolePod, diagnose.QdiscDelay, diagnose.Critical, time.Hour)}, checkOK, fine},
		{"elsewhere", []api.ActiveFinding{finding(netdev.RoleOther, "remote-loss", diagnose.Critical, time.Hour)}, checkOK, fine},
		{"somebody's rule", []api.ActiveFinding{finding(netdev.RoleOverlay, diagnose.PolicyDrop, diagnose.Critical, time.Hour)}, checkOK, fine},
		{"a tunnel that is gone, behind what does not count", []api.ActiveFinding{
			finding(netdev.RolePod, diagnose.QdiscDelay, diagnose.Critical, time.Hour),
			finding(netdev.RoleOther, diagnose.LinkDown, diagnose.Critical, time.Hour)},
			checkProblem, "tunl0 link-down 7.6 % for 1h0m0s; see tracer diagnose"},
	} {
		code, line := conclude(api.ActiveFindings{Judged: now.Add(-5 * time.Second), Findings: test.found}, now)
		if code != test.code || line != test.line {
			t.Errorf("%s: %d %q, want %d %q", test.why, code, line, test.code, test.line)
		}
	}
	little, most := 0.3, 0.9
	for ratio, want := range map[*float64]int{&little: checkUnknown, &most: checkOK, nil: checkOK} {
		rows := []diagnose.Coverage{{Device: "eth0", Direction: journey.In, Ratio: ratio}}
		if code, line := conclude(api.ActiveFindings{Judged: now, Coverage: rows}, now); code != want {
			t.Errorf("coverage %+v: %d %q, want %d", rows, code, line, want)
		}
	}
	for judged, want := range map[time.Time]string{{}: "only just started", now.Add(-time.Minute): "latest diagnosis 1m0s ago"} {
		if code, line := conclude(api.ActiveFindings{Judged: judged}, now); code != checkUnknown || !strings.Contains(line, want) {
			t.Errorf("judged at %v: %d %q", judged, code, line)
		}
	}
}

// TestCheckWithoutAnswer: no agent, and one that does not answer, are known as such, in time and in few bytes.
func TestCheckWithoutAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(dir string) (int, string) {
		var out bytes.Buffer
		begun := time.Now()
		code := checkNode(t.Context(), dir, time.Now, &out)
		if took := time.Since(begun); took > 2*checkWithin {
			t.Errorf("it took %v", took)
		}
		if out.Len() > checkBytes {
			t.Errorf("%d bytes: %q", out.Len(), out.String())
		}
		return code, out.String()
	}
	if code, line := run(dir); code != checkUnknown || line != "no tracer agent runs here\n" {
		t.Errorf("%d %q", code, line)
	}
	silent, err := net.Listen("unix", filepath.Join(dir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if code, line := run(dir); code != checkUnknown || line != "the tracer agent does not answer in time\n" {
		t.Errorf("%d %q", code, line)
	}
	noDirectory := filepath.Join(dir, "file")
	if err := os.WriteFile(noDirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, line := run(noDirectory); code != checkUnknown || line == "" {
		t.Errorf("%d %q", code, line)
	}
}

// TestCheckMisused: to the problem detector a wrong flag is no fault of the node.
func TestCheckMisused(t *testing.T) {
	t.Parallel()
	out, err := execute(t, "diagnose", "--check", "--no-such-flag")
	if !errors.Is(err, exitCode(checkUnknown)) || !strings.Contains(out, "no-such-flag") || len(out) > checkBytes {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := execute(t, "diagnose", "--check", "--run-dir", t.TempDir()); !errors.Is(err, exitCode(checkUnknown)) || out != "no tracer agent runs here\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{"abc": "abc", "abcd": "abcd", "abcde": "abcd", "abcé": "abc"} {
		if got := shorten(line, 4); got != want || !utf8.ValidString(got) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// TestPlugin checks that what is deployed calls the check as it is.
func TestPlugin(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../deploy/node-problem-detector.json")
	if err != nil {
		t.Fatal(err)
	}
	var plugin struct {
		PluginConfig struct {
			Timeout string
			Max     int `json:"max_output_length"`
		}
		Conditions []struct{ Type string }
		Rules      []struct {
			Type, Condition, Timeout string
			Args                     []string
		}
	}
	if err := json.Unmarshal(data, &plugin); err != nil {
		t.Fatal(err)
	}
	rule := plugin.Rules[0]
	if plugin.PluginConfig.Max != checkBytes || plugin.Conditions[0].Type != "OverlayDegraded" || rule.Condition != "OverlayDegraded" || rule.Type != "permanent" {
		t.Errorf("the plugin is %+v", plugin)
	}
	for _, text := range []string{plugin.PluginConfig.Timeout, rule.Timeout} {
		if timeout, err := time.ParseDuration(text); err != nil || timeout <= checkWithin {
			t.Errorf("a time-out of %s, %v, for what may take %v", text, err, checkWithin)
		}
	}
	if out, err := execute(t, append(rule.Args, "--run-dir", t.TempDir())...); !errors.Is(err, exitCode(checkUnknown)) || out != "no tracer agent runs here\n" {
		t.Errorf("%v says %q, %v", rule.Args, out, err)
	}
}
