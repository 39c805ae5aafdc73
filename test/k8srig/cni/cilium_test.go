package cni

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/test/k8srig"
)

// ciliumConfig is what the chart has the agent write (cni.customConf: here the kubelet has it from the beginning).
const ciliumConfig = `{"cniVersion": "0.3.1", "name": "cilium", "plugins": [
  {"type": "cilium-cni", "enable-debug": false, "log-file": "/var/run/cilium/cilium-cni.log"}
]}
`

// ciliumValues are the chart's values: a tunnel, no kube-proxy, no operator, as the nodes' networks of pods are Kubernetes' own,
// and no Envoy, which is no Go module.
var ciliumValues = []string{
	"kubeProxyReplacement=true", "k8sServiceHost=" + k8srig.Fabric, "k8sServicePort=6443", "routingMode=tunnel", "ipam.mode=kubernetes",
	"operator.enabled=false", "envoy.enabled=false", "l7Proxy=false", "cni.customConf=true", "hubble.tls.enabled=false",
}

//go:embed denied.yaml
var deniedYAML string

// ciliumFiles are Cilium's programs and its source: the agent compiles what it loads, and the chart is there.
type ciliumFiles struct{ programs, source string }

// fetchCilium builds Cilium if the cache has not got it: a quarter of an hour.
func fetchCilium(ctx context.Context) (f ciliumFiles, err error) {
	module := filepath.Join("cni", "cilium")
	if f.programs, err = k8srig.Binaries(ctx, module); err != nil {
		return f, err
	}
	for _, args := range [][]string{{"mod", "download", "github.com/cilium/cilium"}, {"list", "-m", "-f", "{{.Dir}}", "github.com/cilium/cilium"}} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = module
		out, err := cmd.Output()
		if err != nil {
			return f, fmt.Errorf("find Cilium's source: %w", err)
		}
		f.source = strings.TrimSpace(string(out))
	}
	return f, nil
}

// playsCilium tells whether one of Cilium's tests is to run.
func playsCilium() bool {
	flag.Parse()
	pattern, _, _ := strings.Cut(flag.Lookup("test.run").Value.String(), "/")
	for _, name := range []string{"TestCiliumHostRouting", "TestCiliumLegacyRouting"} {
		if ok, err := regexp.MatchString(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}

// cilium is Cilium's agent on each node.
type cilium struct {
	c      *cluster
	bin    string // folder with its programs by their names, and a compiler
	lib    string // folder with its BPF source
	config string // folder with its configuration, a file for each setting
	kube   string // kubeconfig
	agents [2]*k8srig.Process
}

// startCilium starts Cilium as its chart makes it, with those values, on every node.
func startCilium(t *testing.T, c *cluster, f ciliumFiles, values ...string) *cilium {
	t.Helper()
	compiler, err := exec.LookPath("clang-14")
	if err != nil {
		t.Fatal(err)
	}
	d := &cilium{c: c, lib: t.TempDir(), config: t.TempDir(), kube: filepath.Join(t.TempDir(), "kubeconfig"), bin: folder(t, map[string]string{
		"cilium-agent":            filepath.Join(f.programs, "daemon"),
		"cilium-health-responder": filepath.Join(f.programs, "responder"),
		"clang":                   compiler,
	})}
	if err := os.Symlink(filepath.Join(f.source, "bpf"), filepath.Join(d.lib, "bpf")); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"v2", "v2alpha1"} {
		c.kubectl(t, "create -f "+filepath.Join(f.source, "pkg/k8s/apis/cilium.io/client/crds", version))
	}
	d.configure(t, filepath.Join(f.source, "install/kubernetes/cilium"), append(ciliumValues, values...))
	token := strings.TrimSpace(c.kubectl(t, "-n kube-system create token cilium"))
	if err := os.WriteFile(d.kube, []byte(k8srig.Kubeconfig(c.Server(), c.CA(), token)), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, n := range c.nodes {
		cgroup, err := n.CgroupV2()
		if err != nil {
			t.Fatal(err)
		}
		// As the DaemonSet's volumes and first containers do it.
		volumes := "mkdir -p /run/cilium/cgroupv2 && mount --bind " + cgroup + " /run/cilium/cgroupv2 && ln -s /run/netns /run/cilium/netns"
		if out, err := n.Enter("sh", "-c", volumes).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		d.start(t, i)
	}
	return d
}

// configure applies what the chart makes, but the DaemonSet, and writes the agent's configuration.
func (d *cilium) configure(t *testing.T, chart string, values []string) {
	t.Helper()
	args := []string{"template", "cilium", chart, "--namespace", "kube-system", "--set", strings.Join(values, ",")}
	for _, file := range []string{"cilium-configmap", "cilium-secrets-namespace", "cilium-agent/clusterrole", "cilium-agent/clusterrolebinding",
		"cilium-agent/role", "cilium-agent/rolebinding", "cilium-agent/serviceaccount"} {
		args = append(args, "--show-only", "templates/"+file+".yaml")
	}
	manifest, err := d.c.Helm(args...)
	if err != nil {
		t.Fatal(err)
	}
	d.c.apply(t, manifest)
	var made struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(d.c.kubectl(t, "-n kube-system get configmap cilium-config -o json")), &made); err != nil {
		t.Fatal(err)
	}
	made.Data["procfs"] = "/proc" // the agent is in no container
	for key, value := range made.Data {
		if err := os.WriteFile(filepath.Join(d.config, key), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts the agent on a node, and waits until it says that it works.
func (d *cilium) start(t *testing.T, i int) {
	t.Helper()
	n := d.c.nodes[i]
	cmd := n.Enter(filepath.Join(d.bin, "cilium-agent"), "--config-dir="+d.config, "--lib-dir="+d.lib, "--k8s-kubeconfig-path="+d.kube)
	cmd.Env = append(os.Environ(), "PATH="+d.bin+":"+os.Getenv("PATH"), "K8S_NODE_NAME="+n.Name, "CILIUM_K8S_NAMESPACE=kube-system")
	var err error
	if d.agents[i], err = k8srig.Start("cilium-agent", t.TempDir(), cmd); err != nil {
		t.Fatal(err)
	}
	err = k8srig.Await(t.Context(), 5*time.Minute, "start Cilium on "+n.Name, []*k8srig.Process{d.agents[i]}, func() error {
		_, err := n.Output(d.c.app, "get", "http://127.0.0.1:9879/healthz")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// restart kills the agent on every node, and starts it again.
func (d *cilium) restart(t *testing.T) {
	t.Helper()
	for i, n := range d.c.nodes {
		for _, pid := range n.Find("cilium-agent") {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		d.agents[i].Wait()
		d.start(t, i)
	}
}

// TestCiliumHostRouting has Cilium's programs do all the routing, and masquerade: pods' packets pass no table of the kernel's.
func TestCiliumHostRouting(t *testing.T) {
	l := ciliumLayout(t, "bpf.masquerade=true")
	l.record(t, "Cilium, tunnel, kube-proxy replacement, host routing in BPF", "cilium", "github.com/cilium/cilium")
}

// TestCiliumLegacyRouting has the kernel route and masquerade between Cilium's programs.
func TestCiliumLegacyRouting(t *testing.T) {
	l := ciliumLayout(t, "bpf.hostLegacyRouting=true")
	l.record(t, "Cilium, tunnel, kube-proxy replacement, the kernel's routing", "cilium", "github.com/cilium/cilium")
}

// ciliumLayout plays Cilium with those values, faults at its overlay and uplink, and a policy of its own.
func ciliumLayout(t *testing.T, values ...string) *layout {
	t.Helper()
	f, err := fetchCilium(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, k8srig.Network{Config: ciliumConfig, Proxy: k8srig.NoProxy, Plugins: folder(t, map[string]string{
		"cilium-cni": filepath.Join(f.programs, "cilium-cni"), "loopback": filepath.Join(p.flannel, "loopback"),
	})})
	// To Cilium the API server's address is a node's, to which pods' packets go as they are.
	c.world = "192.0.2.1"
	run(t, "ip addr replace "+c.world+"/32 dev fabric")
	c.halfInstalled(t, "cilium-cni")
	d := startCilium(t, c, f, values...)
	l := newLayout(c, startLoad(t, c))
	l.socketLB = true
	l.installed(t)
	l.restarts(t)
	// When it starts it makes pods' own ports anew, agents or not.
	ownPorts := []string{"hostport-a", "hostport-b"}
	l.undisturbed(t, "cilium-agent killed and started again", func() { d.restart(t) }, ownPorts...)
	l.counted(t)
	for _, device := range []string{"cilium_vxlan", "eth0"} {
		l.story(t, device)
	}
	l.reconfigured(t, ciliumConfig, `"enable-debug": false`, `"enable-debug": true`)
	l.denied(t)
	l.stopAgents(t)
	l.undisturbed(t, "cilium-agent killed and started again, no agent beside it", func() { d.restart(t) }, ownPorts...)
	return l
}

// denied has a policy of Cilium's drop packets of pods, which must be named as a policy, on the node where they are dropped.
func (l *layout) denied(t *testing.T) {
	t.Helper()
	l.apply(t, deniedYAML)
	l.kubectl(t, "-n store rollout status deployment/stranger --timeout=120s")
	begin := time.Now()
	until(t, time.Minute, "name the policy", func() error {
		var said []string
		for _, n := range l.nodes {
			r, err := diagnose(n)
			if err != nil {
				return err
			}
			if r.Verdict == "fault" && r.Findings[0].Cause == "policy-drop" {
				t.Logf("%s: %s", n.Name, r.Summary)
				return nil
			}
			said = append(said, r.Summary)
		}
		return fmt.Errorf("%s", strings.Join(said, "; "))
	})
	l.stories = append(l.stories, fmt.Sprintf("`policy-drop`, a policy of Cilium's, after %.0f s", time.Since(begin).Seconds()))
	l.kubectl(t, "-n store delete ciliumnetworkpolicy/no-stranger deployment/stranger --wait=true")
	l.healthy(t)
}
