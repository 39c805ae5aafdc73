package main

import (
	"os"
	"strings"
	"testing"
)

// TestNoToken: a pod that may not ask the API server has no names, and its log says why. Names that were asked for are
// another matter.
func TestNoToken(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token"); err == nil {
		t.Log("these tests run in a pod with a token")
		return
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := tracer(append(args, "--run-dir", t.TempDir())...)
		cmd.Env = append(cmd.Env, "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443")
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%v: no error", args)
		}
		return string(out)
	}
	const advice, goesOn = "automountServiceAccountToken: true", "--max-records 0: give"
	if out := run("agent", "--max-records", "0"); !strings.Contains(out, advice) || !strings.Contains(out, goesOn) {
		t.Errorf("the agent says %q", out)
	}
	if out := run("agent", "--max-records", "0", "--cidr-names", "names.yaml"); !strings.Contains(out, advice) || strings.Contains(out, goesOn) {
		t.Errorf("with --cidr-names the agent says %q", out)
	}
}
