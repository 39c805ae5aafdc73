package lab

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"tracer/internal/lab/load"
)

// wireName is the namespace that holds the bridge between the nodes.
const wireName = "wire"

// kubeNamespace is the Kubernetes namespace of everything in the lab.
const kubeNamespace = "default"

// Node is a Kubernetes-like node.
type Node struct {
	Name         string       `json:"name"` // "node1"
	Netns        Namespace    `json:"netns"`
	Address      netip.Addr   `json:"address"` // of its uplink
	Address6     netip.Addr   `json:"address6"`
	Tunnel       netip.Addr   `json:"tunnel_address"` // of its overlay device
	Tunnel6      netip.Addr   `json:"tunnel_address6"`
	Pods         netip.Prefix `json:"pods"` // its block of pod addresses
	Pods6        netip.Prefix `json:"pods6"`
	IdentityFile string       `json:"identity_file"`
}

// Do runs f inside the node's network namespace; see Namespace.Do.
func (n Node) Do(f func() error) error { return n.Netns.Do(f) }

// Pod is a pod: a namespace with one eth0, behind a veth of its node.
type Pod struct {
	Name     string     `json:"name"` // of its workload
	PodName  string     `json:"pod"`  // as Kubernetes would name it
	Node     string     `json:"node"`
	Netns    Namespace  `json:"netns"`
	Device   string     `json:"device"` // the veth's end on the node
	Address  netip.Addr `json:"address"`
	Address6 netip.Addr `json:"address6"`
	// Its annotations kubernetes.io/ingress-bandwidth and egress-bandwidth.
	IngressBandwidth string `json:"ingress_bandwidth,omitempty"`
	EgressBandwidth  string `json:"egress_bandwidth,omitempty"`
}

// Do runs f inside the pod's network namespace; see Namespace.Do.
func (p Pod) Do(f func() error) error { return p.Netns.Do(f) }

// Service is a virtual address that the nodes rewrite to a pod's.
type Service struct {
	Name       string     `json:"name"`
	Address    netip.Addr `json:"address"`
	Port       uint16     `json:"port"`
	Backend    string     `json:"backend"` // the pod's Name
	TargetPort uint16     `json:"target_port"`
}

// topology is everything that a lab consists of, known before any of it is made.
type topology struct {
	Name    string    `json:"name"`
	Wire    Namespace `json:"wire"`
	Overlay string    `json:"overlay"` // Auto until the kernel was asked
	// HostRouting and Netkit are those of the Options.
	HostRouting bool    `json:"host_routing,omitempty"`
	Netkit      bool    `json:"netkit,omitempty"`
	Uplink      string  `json:"uplink"`            // each node's device towards the others
	Machine     string  `json:"machine,omitempty"` // the node that is made here, if not all of them are
	Nodes       []Node  `json:"nodes"`
	Pods        []Pod   `json:"pods"`
	Service     Service `json:"service"`
	// EmptyServices are those of the Options.
	EmptyServices []EmptyService `json:"empty_services,omitempty"`
	Load          load.Config    `json:"load"`
}

// serviceAddress is the Service's.
var serviceAddress = netip.AddrFrom4([4]byte{10, 96, 0, 10})

// newTopology lays out a lab. Each lab has its own namespaces, and so all may use the same addresses: by themselves nodes
// in 172.30.0.0/24, their pods in 10.244.<node>.0/24, Services in 10.96.0.0/16, and likewise below fd00::/16, with the
// second byte of the pods' network in theirs.
func newTopology(o Options) topology {
	t := topology{Name: o.Name, Wire: namespaceOf(o.Name, wireName), Overlay: o.Overlay, HostRouting: o.HostRouting, Netkit: o.Netkit,
		Uplink: o.Uplink, Machine: o.Machine, Load: o.Load, EmptyServices: o.EmptyServices}
	nodes, pods := o.NodeNet.Addr().As4(), o.PodNet.Addr().As4()
	for i := 1; i <= o.Nodes; i++ {
		name := nodeName(i)
		nodes[3], pods[2] = byte(10+i), byte(i)
		t.Nodes = append(t.Nodes, Node{
			Name:     name,
			Netns:    namespaceOf(o.Name, name),
			Address:  netip.AddrFrom4(nodes),
			Address6: netip.MustParseAddr(fmt.Sprintf("fd00:172:30::%d", 10+i)),
			Tunnel:   netip.AddrFrom4(pods),
			Tunnel6:  netip.MustParseAddr(fmt.Sprintf("fd00:10:%d:%d::1", pods[1], i)),
			Pods:     netip.PrefixFrom(netip.AddrFrom4(pods), 24),
			Pods6:    netip.MustParsePrefix(fmt.Sprintf("fd00:10:%d:%d::/64", pods[1], i)),
		})
	}
	count := make(map[string]int)
	for _, spec := range append([]PodSpec{{Web, "node1"}, {API, "node2"}}, o.Pods...) {
		node := t.node(spec.Node)
		count[node.Name]++
		last := byte(count[node.Name] + 1)
		v4, v6 := node.Pods.Addr().As4(), node.Pods6.Addr().As16()
		v4[3], v6[15] = last, last
		podName := podName(o.Name, spec.Name)
		t.Pods = append(t.Pods, Pod{
			Name:     spec.Name,
			PodName:  podName,
			Node:     node.Name,
			Netns:    namespaceOf(o.Name, spec.Name),
			Device:   caliName(podName),
			Address:  netip.AddrFrom4(v4),
			Address6: netip.AddrFrom16(v6),

			IngressBandwidth: o.Ingress[spec.Name],
			EgressBandwidth:  o.Egress[spec.Name],
		})
	}
	t.Service = Service{
		Name: API, Address: serviceAddress, Port: 80, Backend: API, TargetPort: 8080,
	}
	return t
}

func (t *topology) node(name string) *Node {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			return &t.Nodes[i]
		}
	}
	return nil
}

func (t *topology) pod(name string) *Pod {
	for i := range t.Pods {
		if t.Pods[i].Name == name {
			return &t.Pods[i]
		}
	}
	return nil
}

// namespaces are all that the lab has here, in the order in which they are made.
func (t *topology) namespaces() []Namespace {
	var all []Namespace
	if t.Machine == "" {
		all = append(all, t.Wire)
	}
	for _, n := range t.nodesHere() {
		all = append(all, n.Netns)
	}
	for _, p := range t.podsHere() {
		all = append(all, p.Netns)
	}
	return all
}

func (t *topology) overlayDevice() string {
	switch t.Overlay {
	case IPIP:
		return "tunl0"
	case WireGuard:
		return "wireguard.cali"
	case Native:
		return t.Uplink
	}
	if t.HostRouting {
		return "cilium_vxlan"
	}
	return "vxlan.calico"
}

// overlayMTU is the underlay's 1500, less an IP header; less IP, UDP, VXLAN and the inner Ethernet header; or less IP, UDP and
// WireGuard's header and tag.
func (t *topology) overlayMTU() int {
	switch t.Overlay {
	case IPIP:
		return underlayMTU - 20
	case WireGuard:
		return underlayMTU - 60
	case Native:
		return underlayMTU
	}
	return underlayMTU - 50
}

const underlayMTU = 1500

func nodeName(i int) string { return fmt.Sprintf("node%d", i) }

func namespaceOf(lab, part string) Namespace { return Namespace(lab + "-" + part) }

// podName adds what a Deployment adds: its ReplicaSet's hash and five characters of the pod's own. They come
// from the names, so that a lab built again has the same pods.
func podName(lab, workload string) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789" // Kubernetes' safe encoding
	sum := sha1.Sum([]byte(lab + "/" + workload))
	var b strings.Builder
	b.WriteString(workload + "-")
	for i, c := range sum[:14] {
		if i == 9 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[int(c)%len(letters)])
	}
	return b.String()
}

// caliName is how Calico names the veth of a pod.
func caliName(pod string) string {
	sum := sha1.Sum([]byte(kubeNamespace + "." + pod))
	return "cali" + hex.EncodeToString(sum[:])[:11]
}

// vtepMAC is the address of a node's vxlan device. The others must know it before it exists.
func vtepMAC(node Node) net.HardwareAddr {
	sum := sha1.Sum([]byte(node.Netns))
	return net.HardwareAddr(append([]byte{0x66}, sum[:5]...)) // 0x66: local, unicast
}

func labDir(runDir, name string) string { return filepath.Join(runDir, "lab", name) }
