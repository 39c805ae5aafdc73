package cni

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/test/k8srig"
)

//go:embed flannel.yaml
var flannelYAML string

// flannelConfig is the cni-conf.json of flannel's manifest, in the version that its plugin of that age knows, with the
// bandwidth plugin that the kubelet's annotations need.
const flannelConfig = `{"name": "cbr0", "cniVersion": "0.4.0", "plugins": [
  {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "bandwidth", "capabilities": {"bandwidth": true}}
]}
`

// flannel is flanneld on each node.
type flannel struct {
	c       *cluster
	binary  string
	config  string // net-conf.json
	kube    string // kubeconfig
	daemons [2]*k8srig.Process
}

// plugins is a folder with flannel's plugin and the reference plugins.
func plugins(t *testing.T, p programs) string {
	t.Helper()
	files := map[string]string{"flannel": filepath.Join(p.plugin, "flannel")}
	for _, name := range []string{"bridge", "ptp", "portmap", "bandwidth", "host-local", "loopback"} {
		files[name] = filepath.Join(p.flannel, name)
	}
	return folder(t, files)
}

// folder has files by other names.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, file := range files {
		if err := os.Symlink(file, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startFlannel starts flanneld with the arguments of its manifest, on every node, by that backend.
func startFlannel(t *testing.T, c *cluster, p programs, backend string) *flannel {
	t.Helper()
	c.apply(t, flannelYAML)
	token := strings.TrimSpace(c.kubectl(t, "-n kube-flannel create token flannel"))
	dir := t.TempDir()
	f := &flannel{c: c, binary: filepath.Join(p.flannel, "flannel"), config: filepath.Join(dir, "net-conf.json"), kube: filepath.Join(dir, "kubeconfig")}
	config := fmt.Sprintf(`{"Network": %q, "EnableNFTables": false, "Backend": {"Type": %q}}`, pods, backend)
	if err := os.WriteFile(f.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.kube, []byte(k8srig.Kubeconfig(c.Server(), c.CA(), token)), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range f.daemons {
		f.start(t, i)
	}
	return f
}

// start starts flanneld on a node, and waits until it says that it works.
func (f *flannel) start(t *testing.T, i int) {
	t.Helper()
	n := f.c.nodes[i]
	cmd := n.Enter(f.binary, "--ip-masq", "--kube-subnet-mgr", "--healthz-port=8081", "--kubeconfig-file="+f.kube, "--net-config-path="+f.config)
	cmd.Env = append(os.Environ(), "NODE_NAME="+n.Name, "EVENT_QUEUE_DEPTH=5000", "CONT_WHEN_CACHE_NOT_READY=false")
	var err error
	if f.daemons[i], err = k8srig.Start("flanneld", t.TempDir(), cmd); err != nil {
		t.Fatal(err)
	}
	err = k8srig.Await(t.Context(), time.Minute, "start flanneld on "+n.Name, []*k8srig.Process{f.daemons[i]}, func() error {
		_, err := n.Output(f.c.app, "get", "http://127.0.0.1:8081/readyz")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// restart kills flanneld on every node, and starts it again.
func (f *flannel) restart(t *testing.T) {
	t.Helper()
	for i, n := range f.c.nodes {
		for _, pid := range n.Find("flannel") {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		f.daemons[i].Wait()
		f.start(t, i)
	}
}

// TestFlannelVXLAN has flannel as its manifest makes it, and pods whose bandwidth is limited.
func TestFlannelVXLAN(t *testing.T) {
	l := flannelLayout(t, "vxlan", "nftables", "flannel.1", "eth0")
	if !testing.Short() {
		l.bandwidth(t)
	}
	l.record(t, "flannel, vxlan; kube-proxy by nftables", "flannel", "github.com/flannel-io/flannel")
}

// TestFlannelHostGateway has flannel without an overlay: nodes are gateways to their pods.
func TestFlannelHostGateway(t *testing.T) {
	l := flannelLayout(t, "host-gw", "iptables", "eth0")
	l.record(t, "flannel, host-gw; kube-proxy by iptables", "flannel", "github.com/flannel-io/flannel")
}

// flannelLayout plays flannel with a backend and a mode of kube-proxy, and faults at those devices.
func flannelLayout(t *testing.T, backend, proxy string, faults ...string) *layout {
	t.Helper()
	p, err := fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	network := k8srig.Network{Plugins: plugins(t, p), Config: flannelConfig, Proxy: proxy}
	c := start(t, network)
	plugin := filepath.Join(network.Plugins, "flannel")
	if err := os.Rename(plugin, plugin+".away"); err != nil {
		t.Fatal(err)
	}
	c.halfInstalled(t, "flannel")
	if err := os.Rename(plugin+".away", plugin); err != nil {
		t.Fatal(err)
	}
	f := startFlannel(t, c, p, backend)
	l := newLayout(c, startLoad(t, c))
	l.installed(t)
	l.restarts(t)
	l.undisturbed(t, "flanneld killed and started again", func() { f.restart(t) })
	l.counted(t)
	if testing.Short() {
		l.story(t, faults[0])
		return l
	}
	for _, device := range faults {
		l.story(t, device)
	}
	l.reconfigured(t, flannelConfig, `"hairpinMode": true`, `"hairpinMode": false`)
	l.policy(t, proxy)
	return l
}
