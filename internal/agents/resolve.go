package agents

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tracer/internal/identity/workload"
)

// End is one end of a path, as it was found by a name.
type End struct {
	Name      string // kind/name in its namespace, or the address
	Addresses []netip.Addr
	Nodes     []string // on which its pods are, or the node itself; none for an address outside of the cluster
	// OnHost are nodes whose own address it has, without being named as a node: its pods share the node's network (hostNetwork), and all that
	// the node sends is taken for theirs.
	OnHost []string
	// Unknown is of an address that is no pod's: whether it is a node's is not known, as the account may not list nodes.
	Unknown bool
}

// kinds are what a name may begin with, as kubectl takes them, and what they mean.
var kinds = map[string]string{
	"pod": kindPod, "pods": kindPod, "po": kindPod,
	"deployment": "ReplicaSet", "deployments": "ReplicaSet", "deploy": "ReplicaSet",
	"statefulset": "StatefulSet", "statefulsets": "StatefulSet", "sts": "StatefulSet",
	"daemonset": "DaemonSet", "daemonsets": "DaemonSet", "ds": "DaemonSet",
	"job": "Job", "jobs": "Job", "cronjob": "Job", "cronjobs": "Job", "cj": "Job",
	"service": kindService, "services": kindService, "svc": kindService,
	"node": kindNode, "nodes": kindNode, "no": kindNode,
}

const (
	kindPod     = "Pod"
	kindService = "Service"
	kindNode    = "Node"
)

// Resolver finds ends by name. It has asked the API server for all pods once.
type Resolver struct {
	cluster   *Cluster
	namespace string
	pods      []corev1.Pod
}

// Resolver returns one for names in a namespace.
func (c *Cluster) Resolver(ctx context.Context, namespace string) (*Resolver, error) {
	pods, err := c.pods(ctx, metav1.NamespaceAll, "")
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool {
		return len(p.Status.PodIPs) == 0 || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	return &Resolver{cluster: c, namespace: namespace, pods: pods}, nil
}

// Resolve finds what a text names: an address, or KIND/NAME as kubectl has it, or a name alone, which a workload, a pod or a Service has in
// the namespace, and only one of them.
func (r *Resolver) Resolve(ctx context.Context, text string) (End, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return r.address(ctx, a.Unmap())
	}
	prefix, name, hasKind := strings.Cut(text, "/")
	if !hasKind {
		return r.bare(ctx, text)
	}
	kind, known := kinds[strings.ToLower(prefix)]
	switch {
	case !known:
		return End{}, fmt.Errorf("%s: no kind %q; there are deploy, sts, ds, job, pod, svc, node, as in deploy/web", text, prefix)
	case name == "":
		return End{}, fmt.Errorf("%s: a name is missing", text)
	case kind == kindNode:
		return r.node(ctx, text, name)
	case kind == kindService:
		return r.service(ctx, text, name)
	}
	e := r.of(text, func(p *corev1.Pod) bool { return p.Namespace == r.namespace && isOf(p, kind, name) })
	if len(e.Addresses) == 0 {
		return e, fmt.Errorf("no pod of %s in namespace %s has an address: give another by -n", text, r.namespace)
	}
	return e, nil
}

// isOf tells whether a pod has that name, or is of the workload that has it.
func isOf(p *corev1.Pod, kind, name string) bool {
	if kind == kindPod {
		return p.Name == name
	}
	owner := metav1.GetControllerOfNoCopy(p)
	return owner != nil && owner.Kind == kind && (workload.Of(p) == name || owner.Name == name)
}

// bare finds what a name without a kind means.
func (r *Resolver) bare(ctx context.Context, name string) (End, error) {
	var found []End
	byKind := map[string]bool{}
	for i := range r.pods {
		p := &r.pods[i]
		if owner := metav1.GetControllerOfNoCopy(p); p.Namespace == r.namespace && p.Name != name && owner != nil && workload.Of(p) == name {
			byKind[owner.Kind] = true
		}
	}
	for kind := range byKind {
		found = append(found, r.of(strings.ToLower(strings.Replace(kind, "ReplicaSet", "deploy", 1))+"/"+name, func(p *corev1.Pod) bool {
			return p.Namespace == r.namespace && isOf(p, kind, name)
		}))
	}
	if pod := r.of("pod/"+name, func(p *corev1.Pod) bool { return p.Namespace == r.namespace && p.Name == name }); len(pod.Addresses) > 0 {
		found = append(found, pod)
	}
	if len(found) == 0 {
		service, err := r.service(ctx, "svc/"+name, name)
		if err != nil {
			return End{}, fmt.Errorf("no workload, pod or Service %s with an address in namespace %s: give another by -n, or KIND/NAME, or an address", name, r.namespace)
		}
		return service, nil
	}
	if len(found) > 1 {
		var names []string
		for _, e := range found {
			names = append(names, e.Name)
		}
		slices.Sort(names)
		return End{}, fmt.Errorf("%s may be %s: say which", name, strings.Join(names, " or "))
	}
	return found[0], nil
}

// of are the addresses of some pods.
func (r *Resolver) of(name string, is func(*corev1.Pod) bool) End {
	e := End{Name: name}
	for i := range r.pods {
		if p := &r.pods[i]; is(p) {
			e.addPod(p)
		}
	}
	slices.Sort(e.Nodes)
	slices.Sort(e.OnHost)
	return e
}

func (e *End) addPod(p *corev1.Pod) {
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			e.addAddress(a)
		}
	}
	if !slices.Contains(e.Nodes, p.Spec.NodeName) {
		e.Nodes = append(e.Nodes, p.Spec.NodeName)
	}
	if p.Spec.HostNetwork && !slices.Contains(e.OnHost, p.Spec.NodeName) {
		e.OnHost = append(e.OnHost, p.Spec.NodeName)
	}
}

func (e *End) addAddress(a netip.Addr) {
	if a = a.Unmap(); !slices.Contains(e.Addresses, a) {
		e.Addresses = append(e.Addresses, a)
	}
}

// service is a Service's pods, and its own addresses, which packets have until they are translated.
func (r *Resolver) service(ctx context.Context, text, name string) (End, error) {
	s, err := r.cluster.client.CoreV1().Services(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return End{}, fmt.Errorf("no Service %s in namespace %s: give another by -n", name, r.namespace)
	} else if err != nil {
		return End{}, explain("get services", err)
	}
	if len(s.Spec.Selector) == 0 {
		return End{}, fmt.Errorf("%s has no selector: give the pods or addresses behind it", text)
	}
	selector := labels.SelectorFromSet(s.Spec.Selector)
	e := r.of(text, func(p *corev1.Pod) bool { return p.Namespace == r.namespace && selector.Matches(labels.Set(p.Labels)) })
	if len(e.Addresses) == 0 {
		return e, fmt.Errorf("no pod of %s in namespace %s has an address", text, r.namespace)
	}
	for _, ip := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil { // and not "None"
			e.addAddress(a)
		}
	}
	return e, nil
}

func (r *Resolver) node(ctx context.Context, text, name string) (End, error) {
	n, err := r.cluster.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return End{}, errors.New("no node " + name + ": see kubectl tracer nodes")
	} else if err != nil {
		return End{}, explain("get nodes", err)
	}
	e := End{Name: text, Nodes: []string{name}}
	for _, address := range n.Status.Addresses {
		if a, err := netip.ParseAddr(address.Address); err == nil {
			e.addAddress(a)
		}
	}
	if len(e.Addresses) == 0 {
		return e, fmt.Errorf("%s has no address", text)
	}
	return e, nil
}

// address is a pod's, a node's, or one outside of the cluster.
func (r *Resolver) address(ctx context.Context, a netip.Addr) (End, error) {
	e := End{Name: a.String(), Addresses: []netip.Addr{a}}
	for i := range r.pods {
		p := &r.pods[i]
		if slices.ContainsFunc(p.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == a.String() }) {
			e.Nodes = []string{p.Spec.NodeName}
			if p.Spec.HostNetwork {
				e.OnHost = e.Nodes
			}
			return e, nil
		}
	}
	nodes, allowed, err := r.cluster.nodes(ctx)
	if err != nil {
		return e, err
	}
	e.Unknown = !allowed
	for i := range nodes {
		if slices.ContainsFunc(nodes[i].Status.Addresses, func(n corev1.NodeAddress) bool { return n.Address == a.String() }) {
			e.Nodes = []string{nodes[i].Name}
		}
	}
	return e, nil
}
