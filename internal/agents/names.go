package agents

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/identity/workload"
)

// Names are what Resolve knows that begins with a text, for a shell to complete: the first part of KIND/NAME alone, or names of that kind, and
// names of workloads without one. What the account may not list is left out.
func (c *Cluster) Names(ctx context.Context, namespace, begin string) []string {
	prefix, _, hasKind := strings.Cut(begin, "/")
	kind := kinds[strings.ToLower(prefix)]
	var all []string
	switch {
	case !hasKind:
		for _, k := range []string{"deploy", "sts", "ds", "job", "pod", "svc", "node"} {
			all = append(all, k+"/")
		}
		all = append(all, c.ofPods(ctx, namespace, func(p *corev1.Pod) string {
			if metav1.GetControllerOfNoCopy(p) == nil {
				return p.Name
			}
			return workload.Of(p)
		})...)
	case kind == kindNode:
		all = c.NodeNames(ctx)
	case kind == kindService:
		if list, err := c.client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{}); err == nil {
			for i := range list.Items {
				all = append(all, list.Items[i].Name)
			}
		}
	case kind == kindPod:
		all = c.ofPods(ctx, namespace, func(p *corev1.Pod) string { return p.Name })
	case kind != "":
		all = c.ofPods(ctx, namespace, func(p *corev1.Pod) string {
			if owner := metav1.GetControllerOfNoCopy(p); owner != nil && owner.Kind == kind {
				return workload.Of(p)
			}
			return ""
		})
	}
	if hasKind {
		for i := range all {
			all[i] = prefix + "/" + all[i]
		}
	}
	all = slices.DeleteFunc(all, func(name string) bool {
		return !strings.HasPrefix(name, begin) || name == ""
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// ofPods are what the pods of a namespace that have an address are named by; "" is none.
func (c *Cluster) ofPods(ctx context.Context, namespace string, name func(*corev1.Pod) string) (all []string) {
	pods, err := c.pods(ctx, namespace, "")
	if err != nil {
		return nil
	}
	for i := range pods {
		p := &pods[i]
		if text := name(p); text != "" && len(p.Status.PodIPs) > 0 && p.Status.Phase == corev1.PodRunning && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

// NodeNames are the nodes', or of those with an agent if no others may be listed.
func (c *Cluster) NodeNames(ctx context.Context) (all []string) {
	nodes, allowed, err := c.nodes(ctx)
	if err == nil && allowed {
		for i := range nodes {
			all = append(all, nodes[i].Name)
		}
		return all
	}
	agents, _, err := c.List(ctx)
	if err != nil {
		return nil
	}
	for _, a := range agents {
		all = append(all, a.Node)
	}
	return all
}

// Namespaces are the names of the cluster's; none if they may not be listed.
func (c *Cluster) Namespaces(ctx context.Context) (all []string) {
	list, err := c.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil
	}
	for i := range list.Items {
		all = append(all, list.Items[i].Name)
	}
	return all
}
