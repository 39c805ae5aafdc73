package cni

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tracer/test/k8srig"
)

//go:embed load.yaml
var loadYAML string

// pods is the network of the cluster's pods: that of flannel's manifest.
const pods = "10.244.0.0/16"

// cluster is a control plane and two nodes.
type cluster struct {
	*k8srig.ControlPlane
	nodes [2]*k8srig.Node
	app   string // the program that is in the pods
	world string // an address outside of the cluster
}

// start starts a cluster with a network; each node's part of the network of pods is known when it returns.
func start(t *testing.T, network k8srig.Network) *cluster {
	t.Helper()
	ctx := t.Context()
	tools, err := k8srig.Fetch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	images, err := k8srig.Images(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	images = append(images, dnsImage(t))
	c := &cluster{app: filepath.Join(dir, runtime.GOARCH, "app"), world: k8srig.Fabric}
	names := []string{"node-a", "node-b"}
	c.ControlPlane, err = k8srig.StartControlPlane(ctx, k8srig.ControlPlaneOptions{Tools: tools, Dir: t.TempDir(), Address: k8srig.Fabric, Nodes: names, Pods: pods})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.StartControllers(); err != nil {
		t.Fatal(err)
	}
	if network.Pods == "" {
		network.Pods = pods
	}
	for i, name := range names {
		n, err := k8srig.StartNode(ctx, c.ControlPlane, name, i+1, len(names), network, images)
		if n != nil && n.Process != nil {
			t.Cleanup(n.Kill)
		}
		if err != nil {
			if n != nil {
				t.Log(n.Logs())
			}
			t.Fatal(err)
		}
		c.nodes[i] = n
		// Networks are given out one by one as nodes come: only with the first node's may the second come.
		want := fmt.Sprintf("10.244.%d.0/24", i)
		until(t, 30*time.Second, "get a network for the pods of "+name, func() error {
			cidr, err := c.Kubectl("get", "node", name, "-o", "jsonpath={.spec.podCIDR}")
			if err == nil && cidr != want {
				err = fmt.Errorf("it is %q, not %s", cidr, want)
			}
			return err
		})
	}
	t.Cleanup(func() {
		if t.Failed() {
			events, _ := c.Kubectl("get", "events", "-A", "--sort-by=.lastTimestamp")
			pods, _ := c.Kubectl("get", "pods", "-A", "-o", "wide")
			t.Log(events, "\n", pods, "\n", c.nodes[0].Logs(), c.nodes[1].Logs())
		}
	})
	return c
}

// kubectl runs kubectl, the arguments in one line.
func (c *cluster) kubectl(t *testing.T, line string) string {
	t.Helper()
	out, err := c.Kubectl(strings.Fields(line)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *cluster) apply(t *testing.T, yaml string) {
	t.Helper()
	if _, err := c.KubectlInput(yaml, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// busy is how many times as long something may take on a machine that has no time, before it hangs: no time is judged here.
const busy = 4

// until waits for a condition, for so long on a machine that has time.
func until(t *testing.T, limit time.Duration, what string, done func() error) {
	t.Helper()
	if err := k8srig.Await(t.Context(), busy*limit, what, nil, done); err != nil {
		t.Fatal(err)
	}
}

// startAgents applies the shipped manifest and waits for the agents.
func (c *cluster) startAgents(t *testing.T) {
	t.Helper()
	manifest, err := os.ReadFile("../../deploy/tracer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.apply(t, string(manifest))
	c.kubectl(t, "-n tracer rollout status daemonset/tracer --timeout=300s")
}

// stopAgents deletes the agents, and waits until they are gone.
func (c *cluster) stopAgents(t *testing.T) {
	t.Helper()
	c.kubectl(t, "-n tracer delete daemonset tracer --wait=true")
	c.agentsGone(t, nil)
}

// agentsGone waits until none of those processes is an agent any more; with none given, until there is no agent.
func (c *cluster) agentsGone(t *testing.T, old []int) {
	t.Helper()
	until(t, time.Minute, "end the agents", func() error {
		for _, pid := range c.agents() {
			for _, o := range old {
				if pid == o {
					return fmt.Errorf("process %d runs", pid)
				}
			}
			if old == nil {
				return fmt.Errorf("process %d runs", pid)
			}
		}
		return nil
	})
}

// agents are the agents' processes.
func (c *cluster) agents() (pids []int) {
	for _, n := range c.nodes {
		pids = append(pids, n.Find("tracer")...)
	}
	return pids
}

// report is what diagnose prints, as far as it is asked for here.
type report struct {
	Verdict  string
	Summary  string
	Findings []finding
	Coverage []coverage
}

type finding struct{ Cause, Device, Severity string }

// coverage is how much was seen at a device.
type coverage struct {
	Device, Direction, Reason string
	Ratio                     *float64
}

func (c coverage) String() string {
	return fmt.Sprintf("%s %s %.1f %%", c.Device, c.Direction, *c.Ratio*100)
}

// execTracer runs tracer in a node's agent's pod, by the API server and the kubelet.
func (c *cluster) execTracer(node *k8srig.Node, args ...string) (string, error) {
	pod, err := c.Kubectl("-n", "tracer", "get", "pod", "-o", "name", "-l", "app.kubernetes.io/name=tracer", "--field-selector", "spec.nodeName="+node.Name)
	if err != nil {
		return "", err
	}
	return c.Kubectl(append([]string{"-n", "tracer", "exec", strings.TrimSpace(pod), "--", "/tracer"}, args...)...)
}

// diagnose asks a node's agent.
func diagnose(node *k8srig.Node) (r report, err error) {
	out, err := node.Tracer("diagnose", "-o", "json")
	if jsonErr := json.Unmarshal([]byte(out), &r); jsonErr != nil {
		return r, errors.Join(err, fmt.Errorf("read the diagnosis: %w", jsonErr))
	}
	return r, nil // the exit code is not 0 if there is a fault
}

// outside is a program in the network that the nodes are joined to, and no node.
func (c *cluster) outside(t *testing.T, name string, args ...string) *k8srig.Process {
	t.Helper()
	p, err := k8srig.Start(name, t.TempDir(), exec.Command(c.app, args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}
