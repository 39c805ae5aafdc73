// Package agents finds the agents of a cluster and talks to them. Each is reached by a stream of the API server's exec, so that
// Kubernetes alone decides who may look, and nothing crosses the pods' network.
package agents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tracer/internal/cluster"
	"tracer/internal/identity/workload"
)

// selector is the label of the agents' pods, as the chart sets it.
const selector = "app.kubernetes.io/name=tracer"

// container is the agents' container in them.
const container = "agent"

// pageSize is how many objects a request to the API server lists.
const pageSize = 500

// Cluster is one with agents in a namespace.
type Cluster struct {
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
}

// New returns the cluster that a configuration leads to.
func New(config *rest.Config, namespace string) (*Cluster, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &Cluster{config: config, client: client, namespace: namespace}, nil
}

// Agent is one node's.
type Agent struct {
	Node string
	Pod  string // "" if there is none on the node
	Why  string // it cannot be asked; "" if it can
}

// List returns the agents by node, with the nodes that have none. If nodes may not be listed, notAsked says so.
func (c *Cluster) List(ctx context.Context) (all []Agent, notAsked string, err error) {
	pods, err := c.pods(ctx, c.namespace, selector)
	if err != nil {
		return nil, "", err
	}
	byNode := map[string]Agent{}
	for i := range pods {
		p := &pods[i]
		a := Agent{Node: p.Spec.NodeName, Pod: p.Name, Why: whyNotReady(p)}
		if p.DeletionTimestamp != nil && a.Why == "" {
			a.Why = "its pod is being deleted"
		}
		if before, ok := byNode[a.Node]; a.Node == "" || ok && before.Why == "" {
			continue
		}
		byNode[a.Node] = a
	}
	if len(byNode) == 0 {
		return nil, "", fmt.Errorf("no agent in namespace %s (pods with %s): install the chart, or say by --tracer-namespace where it is", c.namespace, selector)
	}
	nodes, allowed, err := c.nodes(ctx)
	if err != nil {
		return nil, "", err
	}
	if !allowed {
		notAsked = "there may be nodes without an agent: your account may not list nodes"
	}
	for i := range nodes {
		if name := nodes[i].Name; byNode[name].Node == "" {
			byNode[name] = Agent{Node: name, Why: "no agent runs there"}
		}
	}
	all = slices.Collect(maps.Values(byNode))
	slices.SortFunc(all, func(x, y Agent) int { return strings.Compare(x.Node, y.Node) })
	return all, notAsked, nil
}

// whyNotReady says why nobody can be asked in a pod.
func whyNotReady(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.Name != container:
		case s.State.Running != nil:
			return ""
		case s.State.Waiting != nil:
			return strings.TrimSpace("its container waits: " + s.State.Waiting.Reason + " " + s.State.Waiting.Message)
		case s.State.Terminated != nil:
			return "its container has ended: " + s.State.Terminated.Reason
		}
	}
	return "its pod is " + strings.ToLower(string(p.Status.Phase))
}

// Map is who has which address, and in which zone nodes are.
func (c *Cluster) Map(ctx context.Context) (cluster.Map, error) {
	m := cluster.Map{Places: map[netip.Addr]cluster.Place{}, Zones: map[string]string{}}
	pods, err := c.pods(ctx, metav1.NamespaceAll, "")
	if err != nil {
		return m, err
	}
	for i := range pods {
		p := &pods[i]
		if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, ip := range p.Status.PodIPs {
			if address, err := netip.ParseAddr(ip.IP); err == nil {
				m.Places[address.Unmap()] = cluster.Place{Namespace: p.Namespace, Workload: workload.Of(p), Node: p.Spec.NodeName}
			}
		}
	}
	nodes, _, err := c.nodes(ctx)
	if err != nil {
		return m, err
	}
	for i := range nodes {
		n := &nodes[i]
		if zone := n.Labels[corev1.LabelTopologyZone]; zone != "" {
			m.Zones[n.Name] = zone
		}
		for _, a := range n.Status.Addresses {
			if address, err := netip.ParseAddr(a.Address); err == nil {
				m.Places[address.Unmap()] = cluster.Place{Node: n.Name}
			}
		}
	}
	return m, nil
}

// nodes lists the nodes, from the API server's cache. It tells whether that is allowed: not every account may.
func (c *Cluster) nodes(ctx context.Context) (nodes []corev1.Node, allowed bool, err error) {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	switch {
	case apierrors.IsForbidden(err):
		return nil, false, nil
	case err != nil:
		return nil, false, explain("list nodes", err)
	}
	return list.Items, true, nil
}

// pods lists a namespace's, page by page.
func (c *Cluster) pods(ctx context.Context, namespace, labels string) (out []corev1.Pod, err error) {
	options := metav1.ListOptions{LabelSelector: labels, Limit: pageSize}
	for {
		page, err := c.client.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return nil, explain("list pods", err)
		}
		out = append(out, page.Items...)
		if page.Continue == "" {
			return out, nil
		}
		options.Continue = page.Continue
	}
}

// explain says which right is missing, where that is why.
func explain(what string, err error) error {
	var status apierrors.APIStatus
	if apierrors.IsForbidden(err) && errors.As(err, &status) && status.Status().Details != nil {
		return fmt.Errorf("%s: your account lacks a right on %s: %w", what, status.Status().Details.Kind, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
