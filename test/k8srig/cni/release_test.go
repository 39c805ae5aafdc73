package cni

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/test/k8srig"
)

// TestRelease installs a release from a registry as people do, upgrades it, goes back and uninstalls it, under load. Then it
// diagnoses a node on which nothing is installed.
func TestRelease(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v0.1.0", "v0.2.0"} {
		pushRelease(t, filepath.Join(dir, version), version)
	}
	c := plainCluster(t, fmt.Sprintf(plainConfig, `"type": "ptp"`), "nftables")
	l := newLayout(c, startLoad(t, c))
	before := [2]map[string]string{picture(t, c.nodes[0]), picture(t, c.nodes[1])}

	l.undisturbed(t, "install", func() {
		c.helm(t, "install tracer oci://"+k8srig.Registry+"/charts/tracer --plain-http --version 0.1.0 --create-namespace")
		c.runs(t, "v0.1.0")
		l.healthy(t)
	})
	l.undisturbed(t, "upgrade", func() {
		c.helm(t, "upgrade tracer oci://"+k8srig.Registry+"/charts/tracer --plain-http --version 0.2.0 --reset-then-reuse-values")
		c.runs(t, "v0.2.0")
	})
	l.undisturbed(t, "rollback", func() {
		c.helm(t, "rollback tracer")
		c.runs(t, "v0.1.0")
		l.healthy(t)
	})
	for _, n := range c.nodes {
		if files := c.stateFiles(t, n); !slices.Contains(files, "identities.json") || slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".unreadable") }) {
			t.Errorf("%s has the state %q", n.Name, files)
		}
	}
	l.undisturbed(t, "uninstall", func() {
		c.helm(t, "uninstall tracer --wait")
		c.agentsGone(t, nil)
		for i, n := range c.nodes {
			if text := changed(t, n, before[i]); text != "" {
				t.Error(text)
			}
			if out, err := n.Enter("find", "/run/tracer", "-type", "s", "-o", "-type", "l").CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s has sockets: %s (%v)", n.Name, out, err)
			}
		}
	})
	for _, kind := range []string{"all,configmaps", "clusterroles,clusterrolebindings"} {
		if left := c.kubectl(t, "get "+kind+" -A -o name -l app.kubernetes.io/part-of=tracer"); left != "" {
			t.Errorf("left are %s", left)
		}
	}

	l.undisturbed(t, "no installation", func() {
		n := c.nodes[0]
		c.kubectl(t, "debug node/"+n.Name+" --profile=sysadmin --image="+k8srig.Registry+"/tracer:v0.1.0 -- /tracer diagnose --run-dir /host/run/tracer")
		var name string
		until(t, time.Minute, "diagnose without an agent", func() error {
			pods, err := c.Kubectl("get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.phase}{"\n"}{end}`)
			if err != nil {
				return err
			}
			for line := range strings.Lines(pods) {
				if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[0], "node-debugger-"+n.Name) && (f[1] == "Succeeded" || f[1] == "Failed") {
					name = f[0]
					return nil
				}
			}
			return fmt.Errorf("pods are %s", pods)
		})
		if said := c.kubectl(t, "logs "+name); !strings.Contains(said, "HEALTHY") {
			t.Errorf("without an agent it says\n%s", said)
		}
		c.kubectl(t, "delete pod "+name)
	})
	t.Logf("%d of %d packets were lost", l.lost, l.sent)
}

// pushRelease makes a release of this checkout and pushes it to the nodes' registry, which it starts.
func pushRelease(t *testing.T, dir, version string) {
	t.Helper()
	if conn, err := net.DialTimeout("tcp", k8srig.Registry, time.Second); err == nil {
		conn.Close()
	} else {
		startRegistry(t)
	}
	for _, line := range []string{
		"make release VERSION=" + version + " COMMIT=" + strings.Repeat("0", 40),
		"make push",
	} {
		args := append(strings.Fields(line), "REGISTRY="+k8srig.Registry, "RELEASE="+dir)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1790000000", "CGO_ENABLED=") // as Go's cache has the tools
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

func startRegistry(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "registry")
	build := exec.Command("go", "-C", "../../tools", "build", "-buildvcs=false", "-o", binary, "./registry")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the registry: %v\n%s", err, out)
	}
	p, err := k8srig.Start("registry", dir, exec.Command(binary, k8srig.Registry))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	until(t, 30*time.Second, "start the registry", func() error {
		conn, err := net.Dial("tcp", k8srig.Registry)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// helm runs helm in the namespace tracer, the arguments in one line.
func (c *cluster) helm(t *testing.T, line string) {
	t.Helper()
	tools, err := k8srig.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(tools.Kubernetes, append([]string{"helm", "--kubeconfig", c.Kubeconfig(k8srig.Admin), "--namespace", "tracer"}, strings.Fields(line)...)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v\n%s", line, err, out)
	}
}

// runs waits until all agents are of a version, and answer the commands in their pods.
func (c *cluster) runs(t *testing.T, version string) {
	t.Helper()
	c.kubectl(t, "-n tracer rollout status daemonset/tracer --timeout=120s")
	for _, n := range c.nodes {
		until(t, time.Minute, "run "+version+" on "+n.Name, func() error {
			out, err := c.tracer(n, "version", "-o", "json")
			if err != nil {
				return err
			}
			var got struct {
				Version string
				Agent   struct{ Version string }
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				return err
			}
			if got.Version != version || got.Agent.Version != version {
				return fmt.Errorf("it is %s", out)
			}
			return nil
		})
	}
}

// stateFiles are the names of what agents keep on a node.
func (c *cluster) stateFiles(t *testing.T, n *k8srig.Node) []string {
	t.Helper()
	out, err := n.Enter("ls", "/var/lib/tracer").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Fields(string(out))
}
