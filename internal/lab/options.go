package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tracer/internal/lab/load"
)

// The kinds of overlay.
const (
	Auto      = "auto" // ipip where the kernel has it, else vxlan
	IPIP      = "ipip"
	VXLAN     = "vxlan"
	WireGuard = "wireguard" // encrypted; the tracer does not look into it
	Native    = "native"    // none: nodes route each other's pods
)

// The two tiers of the application, each a pod.
const (
	Web = "web" // calls
	API = "api" // answers, behind the Service
)

// DefaultName is the lab that commands mean when they name none.
const DefaultName = "tracer"

// DefaultRunDir is where labs leave their state, and where an agent looks for identities.
const DefaultRunDir = "/run/tracer"

// PodSpec asks for a pod.
type PodSpec struct {
	Name string // its workload's name too
	Node string // "node1"
}

// Options say what lab to build. The zero Options are good.
type Options struct {
	Name    string
	Nodes   int
	Overlay string    // Auto, IPIP, VXLAN, WireGuard or Native
	Pods    []PodSpec // beside web on node1 and api on node2
	// HostRouting has BPF programs route pods' packets past the node's stack, as Cilium's host routing does: over VXLAN or Native.
	// They know no Service, and so web calls api's own address, as where connect() is translated.
	HostRouting bool
	// Netkit connects pods by netkit instead of veth (kernels from 6.7 on); programs then run on the pods' ends.
	Netkit bool
	// Ingress and Egress are pods' annotations that limit their bandwidth, by the pod's name: "10M". They are known of the pod; nothing
	// is limited by them.
	Ingress, Egress map[string]string
	// EmptyServices have a name and no endpoints. No rule is made for them.
	EmptyServices []EmptyService
	Load          load.Config
	// Names and addresses. The defaults are good unless a test needs others.
	Uplink  string       // of each node's device towards the others
	NodeNet netip.Prefix // a /24, with the nodes' addresses
	PodNet  netip.Prefix // a /16, of which each node has a /24 for its pods
	RunDir  string
	// Machine names the one node that this machine is, as "node1": of the lab no more than it and its pods is made here, and the other nodes
	// are other machines, where a lab of the same options is made. The node is the network namespace of the caller, and its uplink a
	// device that is there.
	Machine string
	// App is the command that runs a part of the application, to which "client" or "server" and its flags are
	// added (see AppOptions). Its processes outlive the caller. Without it the application runs inside the
	// calling process, until Down or the end of that process.
	App []string
}

// withDefaults returns o with defaults for what was left out.
func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.Overlay == "" {
		o.Overlay = Auto
	}
	if o.Pods == nil {
		o.Pods = []PodSpec{{Name: "cache", Node: "node1"}}
	}
	if o.RunDir == "" {
		o.RunDir = DefaultRunDir
	}
	if o.Uplink == "" {
		o.Uplink = "eth0"
	}
	if !o.NodeNet.IsValid() {
		o.NodeNet = netip.MustParsePrefix("172.30.0.0/24")
	}
	if !o.PodNet.IsValid() {
		o.PodNet = netip.MustParsePrefix("10.244.0.0/16")
	}
	if o.Load == (load.Config{}) {
		o.Load = DefaultLoad()
	}
	return o
}

// DefaultLoad is chosen for a rate of 50 kbit/s to slow it down and not to stop it: a tbf of that rate drops about a tenth
// of it.
func DefaultLoad() load.Config {
	return load.Config{Rate: 50, Size: 90, TCP: 100 * time.Millisecond}
}

// StoryLoad is DefaultLoad with a server that takes its time, as for a query to a database, and with so many sockets that a call is the only one of its own for
// load.AloneFor: as a web server's pool of connections has it.
func StoryLoad() load.Config {
	l := DefaultLoad()
	l.Work = 2 * time.Millisecond
	l.Sockets = load.SocketsFor(l.Rate)
	return l
}

// Names hold no dash: what follows the first one in a namespace's name is the node's or pod's, and so no lab's
// prefix is part of another's. 15 characters suffice, and "node1" must stay a node's.
var nameSyntax = regexp.MustCompile(`^[a-z][a-z0-9]{0,14}$`)

var deviceSyntax = regexp.MustCompile(`^[a-z][a-z0-9]{0,14}$`)

var nodeSyntax = regexp.MustCompile(`^node[0-9]+$`)

// maxNodes keeps every node's number inside one byte of its pods' addresses.
const maxNodes = 64

// maxPods on one node keeps them inside the node's block of addresses.
const maxPods = 100

func checkName(name string) error {
	if !nameSyntax.MatchString(name) {
		return fmt.Errorf("lab name %q: use up to 15 lower-case letters and digits, a letter first", name)
	}
	return nil
}

// validate checks options that withDefaults completed.
func (o Options) validate() error {
	if err := checkName(o.Name); err != nil {
		return err
	}
	if o.Nodes < 2 || o.Nodes > maxNodes {
		return fmt.Errorf("%d nodes: choose 2 to %d", o.Nodes, maxNodes)
	}
	if o.Machine != "" && !o.hasNode(o.Machine) {
		return fmt.Errorf("machine %q: choose node1 to node%d", o.Machine, o.Nodes)
	}
	if kinds := []string{Auto, IPIP, VXLAN, WireGuard, Native}; !slices.Contains(kinds, o.Overlay) {
		return fmt.Errorf("overlay %q: choose one of %s", o.Overlay, strings.Join(kinds, ", "))
	}
	if o.HostRouting && o.Overlay != VXLAN && o.Overlay != Native {
		return fmt.Errorf("overlay %q with host routing: choose %s or %s", o.Overlay, VXLAN, Native)
	}
	taken := map[string]bool{Web: true, API: true, wireName: true}
	count := make(map[string]int)
	for _, pod := range o.Pods {
		switch {
		case !nameSyntax.MatchString(pod.Name) || nodeSyntax.MatchString(pod.Name):
			return fmt.Errorf("pod name %q: use up to 15 lower-case letters and digits, a letter first, not a node's name", pod.Name)
		case taken[pod.Name]:
			return fmt.Errorf("pod name %q is taken: choose another", pod.Name)
		case !o.hasNode(pod.Node):
			return fmt.Errorf("pod %s: no node %q: choose node1 to node%d", pod.Name, pod.Node, o.Nodes)
		}
		taken[pod.Name] = true
		if count[pod.Node]++; count[pod.Node] > maxPods {
			return fmt.Errorf("more than %d pods on %s: spread them over more nodes", maxPods, pod.Node)
		}
	}
	if err := o.Load.Validate(); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if o.RunDir == "" {
		return errors.New("no run directory")
	}
	return o.validateNames()
}

// validateNames checks the device's name and the networks.
func (o Options) validateNames() error {
	switch {
	case !deviceSyntax.MatchString(o.Uplink) || strings.HasPrefix(o.Uplink, "cali"):
		return fmt.Errorf("uplink %q: use up to 15 letters and digits, a letter first, and no pod's name", o.Uplink)
	case !o.NodeNet.Addr().Is4() || o.NodeNet.Bits() != 24 || o.NodeNet != o.NodeNet.Masked():
		return fmt.Errorf("node network %v: choose a /24", o.NodeNet)
	case !o.PodNet.Addr().Is4() || o.PodNet.Bits() != 16 || o.PodNet != o.PodNet.Masked():
		return fmt.Errorf("pod network %v: choose a /16", o.PodNet)
	case o.PodNet.Overlaps(o.NodeNet) || o.PodNet.Contains(serviceAddress) || o.NodeNet.Contains(serviceAddress):
		return fmt.Errorf("networks %v and %v: they and the Service's %v must not overlap", o.NodeNet, o.PodNet, serviceAddress)
	}
	return nil
}

func (o Options) hasNode(name string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "node"))
	return err == nil && name == nodeName(n) && n >= 1 && n <= o.Nodes
}

// EmptyService is a Service of which the names alone know.
type EmptyService struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Address   netip.Addr `json:"address"`
}

// ParseEmptyService reads "namespace/name=address".
func ParseEmptyService(s string) (EmptyService, error) {
	full, text, _ := strings.Cut(s, "=")
	namespace, name, _ := strings.Cut(full, "/")
	address, err := netip.ParseAddr(text)
	if err != nil || namespace == "" || name == "" {
		return EmptyService{}, fmt.Errorf("service %q: write it as namespace/name=address, for example shop/cart=10.96.4.4", s)
	}
	return EmptyService{namespace, name, address}, nil
}

// ParsePod reads "name@node".
func ParsePod(s string) (PodSpec, error) {
	name, node, ok := strings.Cut(s, "@")
	if !ok || name == "" || node == "" {
		return PodSpec{}, fmt.Errorf("pod %q: write it as name@node, for example cache@node1", s)
	}
	return PodSpec{Name: name, Node: node}, nil
}
