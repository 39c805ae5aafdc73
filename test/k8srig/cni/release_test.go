package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/test/k8srig"
)

// TestRelease does what the README says with a release in a registry, then upgrades from the release before, goes back and
// uninstalls, under load. Meanwhile the commands of each release talk to the agents of the other.
func TestRelease(t *testing.T) {
	startRegistry(t)
	r := &readme{dir: t.TempDir()}
	before, now := releaseBefore(t), release{version: "v0.2.0", dir: t.TempDir()}
	publish := r.replace(t, block(t, "make release"), now)
	now.make(t, "../..", publish)
	c := plainCluster(t, fmt.Sprintf(plainConfig, `"type": "ptp"`), "nftables")
	r.kubeconfig = c.Kubeconfig(k8srig.Admin)
	l := newLayout(c, startLoad(t, c))
	untouched := [2]map[string]string{picture(t, c.nodes[0]), picture(t, c.nodes[1])}

	l.undisturbed(t, "README: no installation", func() {
		said := r.run(t, strings.ReplaceAll(r.replace(t, block(t, "kubectl debug"), now), "NODE", c.nodes[0].Name))
		if !right(said) {
			t.Errorf("without an agent it says\n%s", said)
		}
		c.kubectl(t, "delete pod "+debugger.FindString(said))
	})
	l.undisturbed(t, "README: a cluster", func() {
		begin := time.Now()
		said := r.run(t, r.replace(t, block(t, "helm install"), now))
		took := time.Since(begin)
		t.Logf("from the first command to the first verdict: %.1f s", took.Seconds())
		if !right(said) {
			t.Errorf("after %v it says\n%s", took, said)
		}
		c.runs(t, now.version)
		c.helm(t, "uninstall tracer --wait")
		c.agentsGone(t, nil)
	})

	l.undisturbed(t, "install", func() {
		c.helm(t, "install tracer oci://"+k8srig.Registry+"/charts/tracer --plain-http --version "+before.number()+" --wait")
		c.runs(t, before.version)
		l.healthy(t)
		c.talks(t, now, before)
	})
	held := c.held(t)
	l.undisturbed(t, "upgrade", func() {
		c.helm(t, "upgrade tracer oci://"+k8srig.Registry+"/charts/tracer --plain-http --version "+now.number()+" --reset-then-reuse-values")
		c.runs(t, now.version)
		l.healthy(t)
		c.talks(t, before, now)
	})
	held = append(held, c.held(t)...)
	l.undisturbed(t, "rollback", func() {
		c.helm(t, "rollback tracer")
		c.runs(t, before.version)
		l.healthy(t)
	})
	held = append(held, c.held(t)...)
	for _, n := range c.nodes {
		if files := c.stateFiles(t, n); !slices.Contains(files, "identities.json") || slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".unreadable") }) {
			t.Errorf("%s has the state %q", n.Name, files)
		}
	}
	l.undisturbed(t, "uninstall", func() {
		c.helm(t, "uninstall tracer --wait")
		c.agentsGone(t, nil)
		until(t, time.Minute, "leave the nodes as they were", func() error {
			for i, n := range c.nodes {
				if text := changed(t, n, untouched[i]); text != "" {
					return errors.New(text)
				}
				if out, err := n.Enter("find", "/run/tracer", "-mindepth", "1").CombinedOutput(); err != nil || len(out) > 0 {
					return fmt.Errorf("%s has files: %s (%v)", n.Name, out, err)
				}
			}
			return nil
		})
		until(t, time.Minute, "free what agents had in the kernel", func() error { return stillThere(held) })
	})
	// The DaemonSet is gone before its pods are: the garbage collector follows.
	until(t, time.Minute, "leave nothing", func() error {
		for _, kind := range []string{"all,configmaps,serviceaccounts,networkpolicies,secrets", "clusterroles,clusterrolebindings"} {
			if left := c.kubectl(t, "get "+kind+" -A -o name -l app.kubernetes.io/part-of=tracer"); left != "" {
				return fmt.Errorf("left are %s", left)
			}
		}
		return nil
	})
	t.Logf("%d of %d packets were lost; of %d programs, maps and links of agents none is left", l.lost, l.sent, len(held))
}

// right tells whether a verdict, as a terminal has it, is right of a cluster in which nothing is wrong but that it may have too little CPU.
func right(said string) bool {
	said = colours.ReplaceAllString(said, "")
	causes := hurting.FindAllStringSubmatch(said, -1)
	return strings.Contains(said, "HEALTHY") || len(causes) > 0 && !slices.ContainsFunc(causes, func(c []string) bool { return c[1] != starved })
}

var (
	colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	hurting = regexp.MustCompile(`(?m)^(?:critical|warning)\s+([a-z-]+):`)
)

// debugger is the pod that kubectl debug makes.
var debugger = regexp.MustCompile(`node-debugger-\S+`)

// release is one that was made, and where.
type release struct{ version, dir string }

func (r release) number() string { return strings.TrimPrefix(r.version, "v") }

// make makes it of a source and pushes it, by a command as in the README.
func (r release) make(t *testing.T, source, command string) {
	t.Helper()
	cmd := exec.Command("bash", "-euc", command)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "RELEASE="+r.dir, "COMMIT="+strings.Repeat("0", 40), "SOURCE_DATE_EPOCH=1790000000",
		"PLATFORMS=linux/"+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// program is one of the release's programs, unpacked.
func (r release) program(t *testing.T, name string) string {
	t.Helper()
	archive := filepath.Join(r.dir, name+"_"+r.number()+"_linux_"+runtime.GOARCH+".tar.gz")
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", archive, "-C", dir, name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, name)
}

// firstReleasable is the commit of which the release before is made while none was published: an early one with the plugin.
const firstReleasable = "06dd34ab271b23a01adf46d94ab2a665432ba30b"

// git asks the repository's history, whoever the checkout belongs to.
func git(args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", "../.."}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}

// releaseBefore makes v0.1.0 of the last commit that has a version's tag, no candidate's, or of an early one while there is none.
func releaseBefore(t *testing.T) release {
	t.Helper()
	r := release{version: "v0.1.0", dir: t.TempDir()}
	commit := firstReleasable
	if tag, err := git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "--exclude", "*-*", "HEAD^"); err == nil {
		commit = tag
	}
	source := t.TempDir()
	unpack := exec.Command("bash", "-euo", "pipefail", "-c", `git -c 'safe.directory=*' -C "$0" archive "$1" | tar -x -C "$2"`, "../..", commit, source)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Logf("the release before is made of this checkout, as %s is not in its history (git fetch --unshallow --tags gets it): %v: %s", commit, err, out)
		source = "../.."
	}
	r.make(t, source, "make release VERSION="+r.version+" REGISTRY="+k8srig.Registry)
	r.make(t, "../..", "make push REGISTRY="+k8srig.Registry)
	return r
}

// talks waits until the commands of one release have got from the agents of another what they ask: more than once where an agent rightly finds
// that applications have too little CPU.
func (c *cluster) talks(t *testing.T, commands, agents release) {
	t.Helper()
	program, plugin := commands.program(t, "tracer"), commands.program(t, "kubectl-tracer")
	ask := func(into any, cmd *exec.Cmd) error {
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, into)
		}
		if err != nil {
			return fmt.Errorf("%v of %s, of an agent of %s: %w: %s", cmd.Args, commands.version, agents.version, err, out)
		}
		return nil
	}
	until(t, time.Minute, "get answers of another release", func() error {
		var version struct{ Agent struct{ Version string } }
		var r report
		var top struct{ Rows []any }
		var trace struct{ Stages []any }
		var all struct {
			Verdict string
			Nodes   []struct{ Version, Error string }
		}
		for into, args := range map[any][]string{
			&version: {"version", "-o", "json"}, &r: {"diagnose", "-o", "json"}, &top: {"top", "--once", "-o", "json"}, &trace: {"trace", "--once", "1", "-o", "json"},
		} {
			if err := ask(into, c.nodes[0].Enter(append([]string{program}, args...)...)); err != nil {
				return err
			}
		}
		if err := ask(&all, exec.Command(plugin, "diagnose", "-o", "json", "--kubeconfig", c.Kubeconfig(k8srig.Admin))); err != nil {
			return err
		}
		if version.Agent.Version != agents.version || r.Verdict != "healthy" || len(top.Rows) == 0 || len(trace.Stages) == 0 {
			return fmt.Errorf("commands of %s got from an agent of %s: version %q, verdict %q, %d rows, %d stages", commands.version, agents.version,
				version.Agent.Version, r.Verdict, len(top.Rows), len(trace.Stages))
		}
		if all.Verdict != "healthy" || len(all.Nodes) != len(c.nodes) || all.Nodes[0].Version != agents.version {
			return fmt.Errorf("the plugin of %s got from agents of %s: %+v", commands.version, agents.version, all)
		}
		return nil
	})
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
	c.kubectl(t, "-n tracer rollout status daemonset/tracer --timeout=300s")
	for _, n := range c.nodes {
		until(t, time.Minute, "run "+version+" on "+n.Name, func() error {
			out, err := c.execTracer(n, "version", "-o", "json")
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
