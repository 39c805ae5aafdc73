package k8srig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nodeArgument makes this program a node's first process.
const nodeArgument = "k8srig-node"

// Node is a machine made of namespaces: with a containerd, a kubelet and a kube-proxy of its own, and an overlay as a
// CNI makes it.
type Node struct {
	*Process
	Name    string
	Address string // on the fabric
	cluster *ControlPlane
	dir     string
	number  int
}

// Addresses of the node with that number.
func nodeAddress(number int) string { return fmt.Sprintf("10.200.0.%d", number) }
func podNetwork(number int) string  { return fmt.Sprintf("10.201.%d", number) }
func overlayMAC(number int) string  { return fmt.Sprintf("02:00:00:00:01:%02x", number) }

// StartNode starts a node and joins it to the fabric. Its name is one of those that the control plane was told; the
// numbers are 1 to nodes. images are archives to import.
func StartNode(ctx context.Context, c *ControlPlane, name string, number, nodes int, images []string) (*Node, error) {
	n := &Node{Name: name, Address: nodeAddress(number), cluster: c, dir: filepath.Join(c.dir, name), number: number}
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
	return n, await(ctx, 2*time.Minute, "start "+name, []*Process{n.Process}, func() error {
		out, err := c.Kubectl("get", "node", name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = errNotYet
		}
		return err
	})
}

// connect makes the node's devices as flannel does: eth0 on the fabric, a VXLAN over it, and a route for each other
// node's pods with the neighbour entries that take the place of learning.
func (n *Node) connect(nodes int) error {
	netns := fmt.Sprintf("/proc/%d/ns/net", n.PID())
	commands := []string{
		"link add eth0 netns " + fmt.Sprint(n.PID()) + " type veth peer name " + n.Name,
		"link set " + n.Name + " master fabric up",
	}
	in := []string{
		"link set lo up",
		"addr add " + n.Address + "/24 dev eth0",
		"link set eth0 up",
		"route add default via " + Fabric,
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
	if err := ip(commands...); err != nil {
		return err
	}
	for _, c := range in {
		if err := run(exec.Command("nsenter", append([]string{"--net=" + netns, "ip"}, strings.Fields(c)...)...)); err != nil {
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

// Command is one in the node's network.
func (n *Node) Command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", n.PID())}, args...)...)
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
	replace := strings.NewReplacer("DIR", n.dir, "DEBIAN", n.cluster.tools.Debian, "ADDRESS", n.Address,
		"PODS", podNetwork(n.number), "NAME", n.Name, "CGROUPS", cgroups)
	if err := os.MkdirAll(filepath.Join(n.dir, "cni"), 0o755); err != nil {
		return err
	}
	kubeconfig := map[string]string{"kubelet": "system:node:" + n.Name, "kube-proxy": proxy}
	for program, user := range kubeconfig {
		if err := os.WriteFile(filepath.Join(n.dir, program+".kubeconfig"), []byte(n.cluster.kubeconfig(user)), 0o600); err != nil {
			return err
		}
	}
	for file, content := range map[string]string{
		"containerd.toml":      containerdConfig,
		"cni/10-pods.conflist": cniConfig,
		"kubelet.yaml":         kubeletConfig,
		"kube-proxy.yaml":      proxyConfig,
	} {
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
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "DEBIAN/usr/lib/cni"
    conf_dir = "DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`

const cniConfig = `{"cniVersion": "0.4.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "mtu": 1450,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "PODS.0/24"}]], "dataDir": "/run/cni", "routes": [{"dst": "0.0.0.0/0"}]}
}]}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ADDRESS
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /CGROUPS/NAME
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
mode: nftables
clusterCIDR: 10.201.0.0/16
hostnameOverride: NAME
clientConnection: {kubeconfig: DIR/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0}
`
