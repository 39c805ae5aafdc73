package k8srig

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// nodeArgument makes this program a node's first process.
	nodeArgument = "k8srig-node"
	// joined is a file that tells it that the node's devices are there.
	joined = "joined"
	// proxyFile is there if the node has a kube-proxy.
	proxyFile = "kube-proxy.yaml"
)

// Node is a machine made of namespaces, with a containerd, a kubelet and a kube-proxy of its own.
type Node struct {
	*Process
	Name    string
	Address string // on the fabric
	cluster *ControlPlane
	dir     string
	number  int
	network Network
}

// Network is how nodes' pods are connected. The zero value is an overlay as flannel makes it, of our own.
type Network struct {
	Pods    string // the cluster's network of pods, as ControlPlaneOptions has it; "" for the overlay of our own
	Plugins string // the folder of the CNI's plugins
	Config  string // the CNI's list of plugins, as /etc/cni/net.d has it; in it NUMBER is the node's, from 0 on
	Proxy   string // kube-proxy's mode, nftables if it is ""; NoProxy
}

// NoProxy is for a CNI that does what kube-proxy does.
const NoProxy = "none"

// Addresses of the node with that number.
func nodeAddress(number int) string { return fmt.Sprintf("10.200.0.%d", number) }
func podNetwork(number int) string  { return fmt.Sprintf("10.201.%d", number) }
func overlayMAC(number int) string  { return fmt.Sprintf("02:00:00:00:01:%02x", number) }

// StartNode starts a node and joins it to the fabric. Its name is one of those that the control plane was told; the
// numbers are 1 to nodes. images are archives to import. It is ready once its network is configured: with a CNI that has
// a program on each node, before that runs.
func StartNode(ctx context.Context, c *ControlPlane, name string, number, nodes int, network Network, images []string) (*Node, error) {
	n := &Node{Name: name, Address: nodeAddress(number), cluster: c, dir: filepath.Join(c.dir, name), number: number, network: network}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	if err := n.configure(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	libraries, err := filepath.Glob(filepath.Join(c.tools.Debian, "usr/lib/*-linux-gnu"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{nodeArgument, c.tools.Kubernetes, n.dir, name, n.Address}, images...)...)
	cmd.Env = append(os.Environ(), inside+"=node",
		"PATH="+filepath.Join(c.tools.Debian, "usr/bin")+":"+filepath.Join(c.tools.Debian, "usr/sbin")+":"+os.Getenv("PATH")+":/usr/sbin:/sbin",
		"LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if n.Process, err = Start(name, c.dir, cmd); err != nil {
		return nil, err
	}
	if err := n.connect(nodes); err != nil {
		return nil, err
	}
	return n, Await(ctx, 2*time.Minute, "start "+name, []*Process{n.Process}, func() error {
		out, err := c.Kubectl("get", "node", name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = errNotYet
		}
		return err
	})
}

// connect makes the node's devices: eth0 on the fabric, and an overlay, if no CNI makes one.
func (n *Node) connect(nodes int) error {
	if _, err := net.InterfaceByName(n.Name); err == nil { // of a node before, whose namespace the kernel has not taken down yet
		if err := ip("link del " + n.Name); err != nil {
			return err
		}
	}
	if err := ip(
		"link add eth0 netns "+fmt.Sprint(n.PID())+" type veth peer name "+n.Name,
		"link set "+n.Name+" master fabric up",
	); err != nil {
		return err
	}
	for _, c := range []string{
		"link set lo up",
		"addr add " + n.Address + "/24 dev eth0",
		"link set eth0 up",
		"route add default via " + Fabric,
	} {
		if err := n.Run(append([]string{"ip"}, strings.Fields(c)...)...); err != nil {
			return err
		}
	}
	if n.network.Pods == "" {
		if err := n.overlay(nodes); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(n.dir, joined), nil, 0o600)
}

// overlay makes devices as flannel does: a VXLAN, and a route for each other node's pods with the neighbour entries that
// take the place of learning.
func (n *Node) overlay(nodes int) error {
	in := []string{
		"link add flannel.1 address " + overlayMAC(n.number) + " mtu 1450 type vxlan id 1 dev eth0 local " + n.Address + " dstport 8472 nolearning",
		"addr add " + podNetwork(n.number) + ".0/32 dev flannel.1",
		"link set flannel.1 up",
	}
	for other := 1; other <= nodes; other++ {
		if other != n.number {
			to := podNetwork(other) + ".0"
			in = append(in,
				"neigh replace "+to+" lladdr "+overlayMAC(other)+" dev flannel.1 nud permanent",
				"route add "+to+"/24 via "+to+" dev flannel.1 onlink")
		}
	}
	for _, c := range in {
		if err := n.Run(append([]string{"ip"}, strings.Fields(c)...)...); err != nil {
			return err
		}
	}
	for other := 1; other <= nodes; other++ {
		if other == n.number {
			continue
		}
		if err := n.Run("bridge", "fdb", "append", overlayMAC(other), "dev", "flannel.1", "dst", nodeAddress(other)); err != nil {
			return err
		}
	}
	return nil
}

// Run runs a command in the node's network.
func (n *Node) Run(args ...string) error { return run(n.Command(args...)) }

// Output is what a command prints in the node's network.
func (n *Node) Output(args ...string) (string, error) { return output(n.Command(args...)) }

// Command is one in the node's network.
func (n *Node) Command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", n.PID())}, args...)...)
}

// Enter is a command in all of the node's namespaces, as if it was started there. Its process is a child of the one that
// it returns: Find finds it, and only when it has ended may its parent end, or nobody buries it.
func (n *Node) Enter(args ...string) *exec.Cmd { return nsenter(n.PID(), args...) }

func nsenter(pid int, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", fmt.Sprint(pid), "--mount", "--net", "--uts", "--ipc", "--pid", "--"}, args...)...)
}

// Tracer is what the node's agent's own program prints, run in the agent's namespaces, as kubectl exec does, but without the API server and
// the kubelet: what leads there may be what is at fault. An error has what the program complains of.
func (n *Node) Tracer(args ...string) (string, error) {
	pids := n.Find("tracer")
	if len(pids) != 1 {
		return "", fmt.Errorf("%d agents run on %s", len(pids), n.Name)
	}
	return output(nsenter(pids[0], append([]string{"/tracer"}, args...)...))
}

// CgroupV2 is the cgroup that all of the node's processes are below, where programs are attached.
func (n *Node) CgroupV2() (string, error) {
	if h, ok := hierarchyV2(); ok {
		return filepath.Join(h, cgroups(), n.Name), nil
	}
	return "", fmt.Errorf("cgroup v2 is mounted neither at /sys/fs/cgroup nor below it")
}

// Find finds processes in the node's network by name.
func (n *Node) Find(name string) (pids []int) {
	network, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", n.PID()))
	if err != nil {
		return nil
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		comm, err := os.ReadFile(filepath.Join(p, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != name {
			continue // or it has ended
		}
		if at, err := os.Readlink(filepath.Join(p, "ns/net")); err != nil || at != network {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Reconfigure writes another list of plugins, for the pods that come.
func (n *Node) Reconfigure(config string) error {
	list := filepath.Join(n.dir, "cni", "10-pods.conflist")
	if err := os.WriteFile(list+".new", []byte(strings.ReplaceAll(config, "NUMBER", strconv.Itoa(n.number-1))), 0o600); err != nil {
		return err
	}
	return os.Rename(list+".new", list)
}

// Logs are the ends of what the node's programs printed.
func (n *Node) Logs() string {
	text := ""
	for _, name := range []string{"containerd", "kubelet", "kube-proxy"} {
		data, _ := os.ReadFile(filepath.Join(n.dir, name+".log"))
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		text += fmt.Sprintf("--- %s of %s\n%s\n", name, n.Name, strings.Join(lines[max(0, len(lines)-12):], "\n"))
	}
	return text
}

// configure writes what the node's programs read.
func (n *Node) configure() error {
	network := n.network
	if network.Pods == "" {
		network.Pods = "10.201.0.0/16"
		network.Plugins = filepath.Join(n.cluster.tools.Debian, "usr/lib/cni")
		network.Config = fmt.Sprintf(cniConfig, podNetwork(n.number))
	}
	replace := strings.NewReplacer("DIR", n.dir, "PLUGINS", network.Plugins, "ADDRESS", n.Address, "MODE", cmp.Or(network.Proxy, "nftables"),
		"PODS", network.Pods, "NAME", n.Name, "CGROUPS", cgroups())
	for _, dir := range []string{"cni", "registries/" + Registry} {
		if err := os.MkdirAll(filepath.Join(n.dir, dir), 0o755); err != nil {
			return err
		}
	}
	kubeconfig := map[string]string{"kubelet": "system:node:" + n.Name, "kube-proxy": proxy}
	files := map[string]string{
		"containerd.toml": containerdConfig,
		// A directory for each registry, named after its address.
		"registries/" + Registry + "/hosts.toml": registryConfig,
		"cni/10-pods.conflist":                   strings.ReplaceAll(network.Config, "NUMBER", strconv.Itoa(n.number-1)),
		"kubelet.yaml":                           kubeletConfig,
	}
	if network.Proxy != NoProxy {
		files[proxyFile] = proxyConfig
	}
	for program, user := range kubeconfig {
		if err := os.WriteFile(filepath.Join(n.dir, program+".kubeconfig"), []byte(n.cluster.kubeconfig(user)), 0o600); err != nil {
			return err
		}
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(n.dir, file), []byte(replace.Replace(content)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Of what is unusual: the rootless-like limits of this machine (no CAP_SYS_RESOURCE, cgroup v1), and a pause image that
// comes from no registry.
const containerdConfig = `version = 2
root = "DIR/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/k8srig:dev"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "DIR/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "PLUGINS"
    conf_dir = "DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`

const registryConfig = `server = "http://` + Registry + `"
[host."http://` + Registry + `"]
capabilities = ["pull", "resolve"]
`

const cniConfig = `{"cniVersion": "0.4.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "mtu": 1450,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s.0/24"}]], "dataDir": "/run/cni", "routes": [{"dst": "0.0.0.0/0"}]}
}]}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ADDRESS
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /CGROUPS/NAME
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
enforceNodeAllocatable: [pods]
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
failCgroupV1: false
failSwapOn: false
healthzBindAddress: 127.0.0.1
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
podLogsDir: DIR/pods
resolvConf: ""
volumePluginDir: DIR/plugins
`

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: MODE
clusterCIDR: PODS
hostnameOverride: NAME
clientConnection: {kubeconfig: DIR/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0}
`
