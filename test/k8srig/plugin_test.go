package k8srig

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Plugin builds kubectl-tracer, as it is released.
func Plugin(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "kubectl-tracer")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/kubectl-tracer")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	return binary, run(cmd)
}

// clusterReport is what of the plugin's report is looked at.
type clusterReport struct {
	Verdict  string
	Summary  string
	Findings []struct {
		Finding struct{ Cause, Severity, Device string }
		Nodes   []string
	}
	Nodes []struct{ Name, Verdict, Error string }
}

// asksAll has the plugin ask both nodes from outside of the cluster, while nothing gets through node-a's overlay: it names that
// device once, whatever node-b sees of it.
func asksAll(t *testing.T, c *ControlPlane) {
	plugin, err := Plugin(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) (string, error) {
		return output(exec.CommandContext(t.Context(), plugin, append(args, "--kubeconfig", c.Kubeconfig(Admin))...))
	}
	begin := time.Now()
	out, err := ask("diagnose", "-o", "json")
	if err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("want exit code 2: %v", err)
	}
	var r clusterReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("after %v: %s", time.Since(begin).Round(time.Millisecond), r.Summary)
	if r.Verdict != "fault" || !strings.Contains(r.Summary, "node-a") || !strings.Contains(r.Summary, "flannel.1") || len(r.Nodes) != 2 {
		t.Errorf("want a fault of flannel.1 on node-a, asked of two nodes: %s", out)
	}
	at := 0
	for _, f := range r.Findings {
		if f.Finding.Severity != "critical" {
			continue
		}
		if !slices.Equal(f.Nodes, []string{"node-a"}) {
			t.Errorf("%s at %q on %v besides", f.Finding.Cause, f.Finding.Device, f.Nodes)
		}
		if f.Finding.Device == "flannel.1" {
			at++
		}
	}
	if at != 1 {
		t.Errorf("flannel.1 is named %d times, want once: %s", at, out)
	}
	text, _ := ask("diagnose")
	table, err := ask("nodes")
	if err != nil || !strings.Contains(table, "node-a") || !strings.Contains(table, "node-b") || !strings.Contains(table, "flannel.1 (critical)") {
		t.Errorf("nodes: %v\n%s", err, table)
	}
	t.Log(text, "\n", table)

	// What is missing is named.
	token, err := c.Kubectl("create", "token", "default", "-n", "store")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(Kubeconfig(c.Server(), c.CA(), strings.TrimSpace(token))), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = output(exec.CommandContext(t.Context(), plugin, "nodes", "--kubeconfig", kubeconfig))
	if err == nil || !strings.Contains(err.Error(), "your account lacks a right on pods") {
		t.Errorf("without rights: %v", err)
	}
	if _, err = ask("nodes", "--tracer-namespace", "store"); err == nil || !strings.Contains(err.Error(), "install the chart") {
		t.Errorf("where no agent is: %v", err)
	}
}
