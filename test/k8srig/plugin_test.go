package k8srig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// clusterPath is what of the plugin's path is looked at.
type clusterPath struct {
	Summary string
	Hops    []clusterHop
	Wire    *struct {
		From, To                 string
		Joined, Followed, Merged int
		RoundTrip                *float64 `json:"round_trip_seconds"`
	}
}

type clusterHop struct {
	Way, Node, Stage, Device string
	Packets, Drops           uint64
	P50                      *float64 `json:"p50_seconds"`
	Share, Held              float64
}

func (p *clusterPath) hop(way, node, stage, device string) clusterHop {
	for _, h := range p.Hops {
		if h.Way == way && h.Node == node && h.Stage == stage && h.Device == device {
			return h
		}
	}
	return clusterHop{}
}

// askPath has the plugin tell a path, as text for the log and as JSON.
func askPath(t *testing.T, ask func(...string) (string, error), args ...string) (p clusterPath) {
	t.Helper()
	out, err := ask(append(args, "-o", "json")...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &p)
	}
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return p
}

// tellsPath has the plugin tell the path from web to api, which also runs beside it: all of it.
func tellsPath(t *testing.T, c *ControlPlane) {
	plugin, err := Plugin(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) (string, error) {
		return output(exec.CommandContext(t.Context(), plugin, append(args, "--kubeconfig", c.Kubeconfig(Admin))...))
	}
	text, err := ask("path", "web", "svc/api-service", "-n", "store", "--duration", "3s")
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text)
	var p clusterPath
	for tries := 1; ; tries++ { // the machine may stand still in one window
		p = askPath(t, ask, "path", "web", "svc/api-service", "-n", "store", "--duration", "3s")
		w := p.Wire
		if w != nil && w.RoundTrip != nil && w.From == "node-a" && float64(w.Joined+w.Merged) >= 0.95*float64(w.Followed) && *w.RoundTrip <= 0.02 {
			break
		}
		t.Logf("wire: %+v", w)
		if tries == 3 {
			t.Error("both nodes' packets were not joined, or took too long")
			break
		}
	}
	for _, h := range []clusterHop{
		{Way: "there", Node: "node-a", Stage: "forward", Device: "flannel.1"}, {Way: "there", Node: "node-a", Stage: "encap", Device: "flannel.1"},
		{Way: "there", Node: "node-b", Stage: "decap", Device: "flannel.1"}, {Way: "there", Node: "node-a", Stage: "forward", Device: "pod"},
		{Way: "back", Node: "node-b", Stage: "forward", Device: "flannel.1"}, {Way: "back", Node: "node-a", Stage: "decap", Device: "flannel.1"},
	} {
		if p.hop(h.Way, h.Node, h.Stage, h.Device).Packets == 0 {
			t.Errorf("no %s at %s of %s on the way %s: %+v", h.Stage, h.Device, h.Node, h.Way, p.Hops)
		}
	}
	listsOnce(t, ask)
}

// listsOnce has the plugin list the pairs of both nodes: that from web to api is one row, with what both saw of it.
func listsOnce(t *testing.T, ask func(...string) (string, error)) {
	t.Helper()
	out, err := ask("top", "--once", "-o", "json")
	var o struct {
		Rows []struct {
			Src, Dst  struct{ Namespace, Workload string }
			Direction string
			Nodes     []string
			Stages    []struct{ Stage, Device string }
		}
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &o)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rows := 0
	for _, r := range o.Rows {
		if r.Src.Workload != "web" || r.Dst.Workload != "api" || r.Src.Namespace != "store" || r.Dst.Namespace != "store" {
			continue
		}
		rows++
		for _, device := range []string{"node-a:flannel.1", "node-b:flannel.1"} {
			if !slices.ContainsFunc(r.Stages, func(s struct{ Stage, Device string }) bool { return s.Device == device }) {
				t.Errorf("web → api does not pass %s: %+v", device, r)
			}
		}
		if r.Direction != "both" || len(r.Nodes) != 2 {
			t.Errorf("web → api was seen on %v (%s), want both nodes", r.Nodes, r.Direction)
		}
	}
	if rows != 1 {
		t.Errorf("web → api is in %d rows, want one: %s", rows, out)
	}
}

// tellsSlowPacket has the plugin show the slowest packet from web to api over both nodes: most of its time it was in the slow overlay's queue.
func tellsSlowPacket(t *testing.T, ask func(...string) (string, error)) {
	t.Helper()
	var p struct {
		Packets []struct {
			Total float64 `json:"total_seconds"`
			Legs  []struct {
				Node  string
				Trace struct {
					Stages []struct {
						Stage, Device string
						Seconds       float64
					}
				}
			}
		}
	}
	var out string
	err := Await(t.Context(), time.Minute, "have a packet on node-a and then on node-b", nil, func() (err error) {
		if out, err = ask("trace", "web", "svc/api-service", "-n", "store", "--way", "there", "-o", "json"); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if len(p.Packets) != 1 || len(p.Packets[0].Legs) != 2 || p.Packets[0].Legs[0].Node != "node-a" || p.Packets[0].Legs[1].Node != "node-b" {
			return errors.New(out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	held := 0.0
	for _, s := range p.Packets[0].Legs[0].Trace.Stages {
		if s.Stage == "queue" && s.Device == "flannel.1" {
			held = s.Seconds
		}
	}
	if held < 0.002 || held < 0.5*p.Packets[0].Total {
		t.Errorf("the slow overlay held the packet for %v s of %v: %s", held, p.Packets[0].Total, out)
	}
}

// tellsSlowPath has it tell the same with an overlay on which each packet waits until there are tokens for it: the delay in that line.
func tellsSlowPath(t *testing.T, c *ControlPlane, a *Node) {
	plugin, err := Plugin(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) (string, error) {
		return output(exec.CommandContext(t.Context(), plugin, append(args, "--kubeconfig", c.Kubeconfig(Admin))...))
	}
	if err := a.Run("tc", "qdisc", "replace", "dev", "flannel.1", "root", "tbf", "rate", "64kbit", "burst", "2000", "limit", "200000"); err != nil {
		t.Fatal(err)
	}
	p := askPath(t, ask, "path", "web", "svc/api-service", "-n", "store", "--duration", "8s")
	t.Log(p.Summary)
	slow := p.hop("there", "node-a", "queue", "flannel.1")
	for _, h := range p.Hops {
		if h.Way == "there" && h.Share > slow.Share {
			t.Errorf("%s at %s of %s has more of the way's time than the slow overlay's queue: %+v", h.Stage, h.Device, h.Node, p.Hops)
		}
	}
	if slow.P50 == nil || *slow.P50 < 0.002 || slow.Share < 0.5 {
		t.Errorf("the slow overlay: %+v", slow)
	}
	tellsSlowPacket(t, ask)
	if err := a.Run("tc", "qdisc", "del", "dev", "flannel.1", "root"); err != nil {
		t.Fatal(err)
	}
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
	// The path between the two still answers, and says where it ends.
	p := askPath(t, ask, "path", "deploy/web", "deploy/api", "-n", "store", "--duration", "8s")
	if h := p.hop("there", "node-a", "queue", "flannel.1"); h.Drops == 0 && h.Held == 0 {
		t.Errorf("nothing is lost or held at flannel.1 on node-a: %+v", p.Hops)
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
