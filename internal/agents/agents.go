// Package agents finds the agents of a cluster and talks to them. Each is reached by a stream of the API server's exec, so that
// Kubernetes alone decides who may look, and nothing crosses the pods' network.
package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tracer/internal/cluster"
	"tracer/internal/identity/workload"
	"tracer/internal/record"
)

// selector is the label of the agents' pods, as the chart sets it.
const selector = "app.kubernetes.io/name=tracer"

// container is the agents' container in them.
const container = "agent"

// The same of the viewers' pods, through which those may ask who have no right on the agents' own.
const (
	viewerSelector  = "app.kubernetes.io/name=tracer-viewer"
	viewerContainer = "viewer"
)

// pageSize is how many objects a request to the API server lists.
const pageSize = 500

// Cluster is one with agents in a namespace.
type Cluster struct {
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
	viewers   string // the namespace of the viewers' pods; "" for none

	ephemeral   *Ephemeral // nil to start none
	run         string     // names what was started
	samplingKey string     // what the agents that are started share
	started     bool
	kept        *kept // nil where each question has streams of its own
}

// New returns the cluster that a configuration leads to, with the namespace of the agents, and that of the pods through which they are asked
// by those who may not exec into the agents' own.
func New(config *rest.Config, namespace, viewers string) (*Cluster, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &Cluster{config: config, client: client, namespace: namespace, viewers: viewers}, nil
}

// Agent is one node's.
type Agent struct {
	Node string
	Pod  string // "" if there is none on the node
	Why  string // it cannot be asked; "" if it can
	// Viewer tells that Pod is the viewers', and what can be asked is what viewers may.
	Viewer bool
	// Ephemeral tells that it was started for this command.
	Ephemeral bool
}

// errNoAgent says that no node has an agent.
var errNoAgent = errors.New("no agent")

// List returns the agents by node, with the nodes that have none. If nodes may not be listed, notAsked says so. Where the account may not
// list the agents' pods or exec into them, and there are viewers' pods, these are in their place.
func (c *Cluster) List(ctx context.Context) (all []Agent, notAsked string, err error) {
	byNode, err := c.agents(ctx)
	if c.started && (err == nil || errors.Is(err, errNoAgent)) {
		var own map[string]Agent
		own, err = c.ephemeralAgents(ctx)
		if byNode == nil {
			byNode = map[string]Agent{}
		}
		maps.Copy(byNode, own)
	}
	if errors.Is(err, errNoAgent) && c.ephemeral != nil {
		byNode, err = map[string]Agent{}, nil // none yet
	}
	if err != nil {
		return nil, "", err
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

// agents are those that have a pod, by node.
func (c *Cluster) agents(ctx context.Context) (map[string]Agent, error) {
	pods, err := c.pods(ctx, c.namespace, selector)
	switch {
	case apierrors.IsForbidden(err), err == nil && c.viewers != "" && len(pods) > 0 && !c.mayExec(ctx):
		viewers, viewersErr := c.pods(ctx, c.viewers, viewerSelector)
		if found := byNode(viewers, true); viewersErr == nil && len(found) > 0 {
			return found, nil
		}
	}
	if err != nil {
		return nil, err
	}
	found := byNode(pods, false)
	if len(found) == 0 {
		return nil, fmt.Errorf("%w in namespace %s (pods with %s): install the chart, say by --tracer-namespace where it is, or start agents for this command with --ephemeral", errNoAgent, c.namespace, selector)
	}
	return found, nil
}

// mayExec tells whether the account may exec into the agents' pods, as far as the API server says.
func (c *Cluster) mayExec(ctx context.Context) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: c.namespace, Verb: "create", Resource: "pods", Subresource: "exec"},
	}}
	answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	return err != nil || answer.Status.Allowed // what it does not say shows when it is tried
}

// byNode are the agents whose pods these are; of a node's several one that can be asked.
func byNode(pods []corev1.Pod, viewers bool) map[string]Agent {
	found := map[string]Agent{}
	for i := range pods {
		p := &pods[i]
		a := Agent{Node: p.Spec.NodeName, Pod: p.Name, Why: whyNotReady(p, viewers), Viewer: viewers}
		if p.DeletionTimestamp != nil && a.Why == "" {
			a.Why = "its pod is being deleted"
		}
		if before, ok := found[a.Node]; a.Node == "" || ok && before.Why == "" {
			continue
		}
		found[a.Node] = a
	}
	return found
}

// whyNotReady says why nobody can be asked in a pod.
func whyNotReady(p *corev1.Pod, viewer bool) string {
	name := container
	if viewer {
		name = viewerContainer
	}
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.Name != name:
		case s.State.Running != nil:
			return ""
		case s.State.Waiting != nil:
			return strings.TrimSpace("its container waits: " + s.State.Waiting.Reason + " " + s.State.Waiting.Message)
		case s.State.Terminated != nil:
			return "its container has ended: " + cmp.Or(lastLine(s.State.Terminated.Message), s.State.Terminated.Reason)
		}
	}
	return "its pod is " + strings.ToLower(string(p.Status.Phase))
}

// lastLine is the last line of a container's message that has something, as it may be printed.
func lastLine(message string) string {
	message = strings.TrimSpace(message)
	return record.Visible(message[strings.LastIndexByte(message, '\n')+1:])
}

// Map is who has which address, in which zone nodes are, and which are cordoned.
func (c *Cluster) Map(ctx context.Context) (cluster.Map, error) {
	m := cluster.Map{Places: map[netip.Addr]cluster.Place{}, Zones: map[string]string{}, Unschedulable: map[string]bool{}}
	pods, err := c.pods(ctx, metav1.NamespaceAll, "")
	if err != nil && !apierrors.IsForbidden(err) {
		return m, err
	}
	m.Nameless = err != nil
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
		if n.Spec.Unschedulable {
			m.Unschedulable[n.Name] = true
		}
		for _, a := range n.Status.Addresses {
			if address, err := netip.ParseAddr(a.Address); err == nil {
				m.Places[address.Unmap()] = cluster.Place{Node: n.Name}
			}
		}
	}
	return m, nil
}

// Services are the Services of all namespaces by their addresses, as namespace/name; none if the account may not list them.
func (c *Cluster) Services(ctx context.Context) (map[netip.Addr]string, error) {
	list, err := c.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	switch {
	case apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, explain("list services", err)
	}
	out := map[netip.Addr]string{}
	for i := range list.Items {
		s := &list.Items[i]
		for _, ip := range s.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(ip); err == nil { // and not "None"
				out[a.Unmap()] = s.Namespace + "/" + s.Name
			}
		}
	}
	return out, nil
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
