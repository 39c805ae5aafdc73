package cni

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/test/k8srig"
)

// vpc is the cloud's network: nodes and pods have its addresses.
const vpc = "10.200.0.0/16"

// awsConfig is the list of AWS's manifest, without the plugin for IPv6's way out, which is off by default.
const awsConfig = `{"cniVersion": "0.4.0", "name": "aws-cni", "disableCheck": true, "plugins": [
  {"name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "1500", "podSGEnforcingMode": "strict",
   "pluginLogFile": "/var/log/aws-routed-eni/plugin.log", "pluginLogLevel": "DEBUG",
   "capabilities": {"io.kubernetes.cri.pod-annotations": true}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
]}
`

// TestAWS has nodes with two interfaces, and pods of both: rules send what comes from a pod of the second one out by it.
func TestAWS(t *testing.T) {
	l := awsLayout(t, true, "eth1") // the first pod of a node is the second interface's
	l.record(t, "AWS VPC CNI, two ENIs; kube-proxy by iptables", "aws", "github.com/aws/amazon-vpc-cni-k8s")
}

// TestAWSOneENI has nodes with one interface, which is their pods' too.
func TestAWSOneENI(t *testing.T) {
	l := awsLayout(t, false, "eth0")
	l.record(t, "AWS VPC CNI, one ENI; kube-proxy by iptables", "aws", "github.com/aws/amazon-vpc-cni-k8s")
}

// awsLayout plays AWS's plugin, with a second interface or without one, and a fault at that device.
func awsLayout(t *testing.T, second bool, fault string) *layout {
	t.Helper()
	p, err := fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, k8srig.Network{Pods: vpc, Config: awsConfig, Proxy: "iptables", Plugins: folder(t, map[string]string{
		"aws-cni": filepath.Join(p.aws, "routed-eni-cni-plugin"), "portmap": filepath.Join(p.flannel, "portmap"),
		"loopback": filepath.Join(p.flannel, "loopback"),
	})})
	if !second { // else CoreDNS would get the second interface's first address
		c.halfInstalled(t, "aws-cni")
	}
	// The cloud's router knows which interface a pod's address belongs to. It tells nobody a shorter way.
	c.world = "192.0.2.1"
	commands := []string{
		"ip addr replace " + c.world + "/32 dev fabric",
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.fabric.send_redirects=0",
	}
	loose := []string{"sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=2"}
	for i, n := range c.nodes {
		commands = append(commands, fmt.Sprintf("ip route add 10.200.2%d.0/24 via %s", i, n.Address))
		if !second {
			continue
		}
		commands = append(commands,
			fmt.Sprintf("ip link add eth1 netns %d type veth peer name %s-1", n.PID(), n.Name),
			fmt.Sprintf("ip link set %s-1 master fabric up", n.Name),
			fmt.Sprintf("ip addr add 10.200.1%d.1/24 dev fabric", i),
			fmt.Sprintf("ip route add 10.200.1%d.128/25 via 10.200.1%d.10", i, i))
	}
	if second {
		loose = append(loose, "net.ipv4.conf.eth1.rp_filter=2")
	}
	run(t, commands...)
	d := &ipamd{c: c, binary: filepath.Join(p.aws, "ipamd"), second: second}
	for i, n := range c.nodes {
		// As the manifest's first container does it: replies may come by another interface.
		if err := n.Run(loose...); err != nil {
			t.Fatal(err)
		}
		d.start(t, i)
	}
	l := newLayout(c, startLoad(t, c))
	if !second {
		l.installed(t)
	}
	l.restarts(t)
	l.undisturbed(t, "ipamd killed and started again", func() { d.restart(t) })
	l.counted(t)
	l.story(t, fault)
	if !testing.Short() {
		l.reconfigured(t, awsConfig, `"mtu": "1500"`, `"mtu": "1400"`)
		l.policy(t, "iptables")
	}
	return l
}

// ipamd is what stands for AWS's daemon, on each node.
type ipamd struct {
	c       *cluster
	binary  string
	second  bool // nodes have a second interface
	daemons [2]*k8srig.Process
}

// start starts it on a node, and waits until the plugin can ask it.
func (d *ipamd) start(t *testing.T, i int) {
	t.Helper()
	n := d.c.nodes[i]
	args := []string{d.binary, vpc, "eth0", fmt.Sprintf("10.200.2%d.2", i)}
	if d.second {
		args = append(args, fmt.Sprintf("eth1=10.200.1%d.10/24", i), fmt.Sprintf("10.200.1%d.130", i))
	}
	cmd := n.Enter(args...)
	cmd.Env = append(cmd.Environ(), "AWS_VPC_ENI_MTU=1500", "AWS_VPC_K8S_CNI_LOG_FILE=stdout")
	var err error
	if d.daemons[i], err = k8srig.Start("ipamd", t.TempDir(), cmd); err != nil {
		t.Fatal(err)
	}
	err = k8srig.Await(t.Context(), time.Minute, "start ipamd on "+n.Name, []*k8srig.Process{d.daemons[i]}, func() error {
		return n.Enter("test", "-S", "/var/run/aws-node/ipamd.sock").Run()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// restart kills it on every node, and starts it again.
func (d *ipamd) restart(t *testing.T) {
	t.Helper()
	for i, n := range d.c.nodes {
		for _, pid := range n.Find("ipamd") {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		d.daemons[i].Wait()
		if err := n.Enter("rm", "/var/run/aws-node/ipamd.sock").Run(); err != nil {
			t.Fatal(err)
		}
		d.start(t, i)
	}
}

// run runs commands in the network that the nodes are joined to.
func run(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		words := strings.Fields(c)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c, err, out)
		}
	}
}
