package identity

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tracer/internal/aggregate"
	"tracer/internal/identity/workload"
)

// podInfo is what is kept of a pod.
type podInfo struct {
	infoMeta
	shared [2]sharedString // its workload and node: they are shared as long as somebody has them
	uid    string
	id     *aggregate.Identity
	ips    []netip.Addr // its own; none of a pod in its node's network namespace
	hosts  []netip.Addr // its node's
	// began is the earliest time at which it had the addresses, zero if unknown; proven if its processes ran by then.
	began  time.Time
	proven bool
	ended  bool // its processes are gone, and another pod may have its addresses
}

func (p *podInfo) DeepCopyObject() runtime.Object { return p }

func decodePod(data []byte) (runtime.Object, error) {
	p := &corev1.Pod{}
	return p, p.Unmarshal(data)
}

// stripPod keeps of a pod what names need.
func (k *Kubernetes) stripPod(object runtime.Object) info {
	p := object.(*corev1.Pod)
	info := &podInfo{infoMeta: metaOf(p), uid: string(p.UID), ended: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed}
	info.shared = [2]sharedString{share(workload.Of(p)), share(p.Spec.NodeName)}
	info.id = &aggregate.Identity{
		Namespace: info.namespace.String(), Pod: p.Name, Workload: info.shared[0].String(), Node: info.shared[1].String(),
		Bandwidth: bandwidthOf(p, ingressBandwidth), EgressBandwidth: bandwidthOf(p, egressBandwidth),
	}
	for _, ip := range p.Status.HostIPs {
		info.hosts = appendAddress(info.hosts, ip.IP)
	}
	info.hosts = appendAddress(info.hosts, p.Status.HostIP)
	if len(info.hosts) > 0 {
		info.id.NodeAddress = info.hosts[0]
	}
	if !p.Spec.HostNetwork {
		for _, ip := range p.Status.PodIPs {
			info.ips = appendAddress(info.ips, ip.IP)
		}
		info.ips = appendAddress(info.ips, p.Status.PodIP)
		// Host ports aside, a node's address is never a pod's.
		info.ips = slices.DeleteFunc(info.ips, func(a netip.Addr) bool { return slices.Contains(info.hosts, a) })
	}
	if k.options.PodUID != "" && info.uid == k.options.PodUID {
		if set := metav1.GetControllerOfNoCopy(p); set != nil && set.Kind == "DaemonSet" {
			uid := string(set.UID)
			k.ownSet.Store(&uid)
		}
	}
	// Another node's clock may be wrong.
	if p.Spec.NodeName == k.options.Node {
		info.began, info.proven = beginning(p)
	}
	return info
}

// The annotations that limit what a pod receives and sends, by the CNI's bandwidth plugin or by Cilium's bandwidth manager.
const (
	ingressBandwidth = "kubernetes.io/ingress-bandwidth"
	egressBandwidth  = "kubernetes.io/egress-bandwidth"
)

// bandwidthOf is to how many bits a second an annotation limits a pod; 0 without it, or if it cannot be parsed.
func bandwidthOf(p *corev1.Pod, annotation string) uint64 {
	text, ok := p.Annotations[annotation]
	if !ok {
		return 0
	}
	bits, err := parseBandwidth(text)
	if err != nil {
		return 0
	}
	return bits
}

// parseBandwidth reads bits a second as Kubernetes writes quantities: "10M" are ten millions, and "10m" a hundredth, which counts
// as one bit.
func parseBandwidth(text string) (uint64, error) {
	q, err := quantity.ParseQuantity(text)
	if err != nil {
		return 0, fmt.Errorf("bandwidth %q: %w", text, err)
	}
	if q.Sign() < 0 {
		return 0, fmt.Errorf("bandwidth %q is below zero", text)
	}
	return uint64(q.Value()), nil
}

// appendAddress appends an address unless it is none, or in the list already.
func appendAddress(list []netip.Addr, s string) []netip.Addr {
	a, ok := parseAddress(s)
	if !ok || slices.Contains(list, a) {
		return list
	}
	return append(list, a)
}

// parseAddress reads an address of an object; ok is false if it is none.
func parseAddress(s string) (a netip.Addr, ok bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil && !a.IsUnspecified()
}

// beginning is the earliest time at which a pod had its address. Its first container starts once it has one, and before
// that nothing sends.
func beginning(p *corev1.Pod) (began time.Time, proven bool) {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			for _, state := range []*corev1.ContainerState{&list[i].State, &list[i].LastTerminationState} {
				var t time.Time
				switch {
				case state.Running != nil:
					t = state.Running.StartedAt.Time
				case state.Terminated != nil:
					t = state.Terminated.StartedAt.Time
				}
				if t.Unix() > 0 && (!proven || t.Before(began)) {
					began, proven = t, true
				}
			}
		}
	}
	if proven {
		return began, true
	}
	if t := p.Status.StartTime; t != nil {
		return t.Time, false
	}
	return p.CreationTimestamp.Time, false
}

// ending is when the last of a pod's processes ended, zero if that is not known of all.
func ending(p *corev1.Pod) (end time.Time) {
	if len(p.Status.ContainerStatuses) == 0 {
		return time.Time{}
	}
	for i := range p.Status.ContainerStatuses {
		done := p.Status.ContainerStatuses[i].State.Terminated
		if done == nil {
			return time.Time{}
		}
		if done.FinishedAt.After(end) {
			end = done.FinishedAt.Time
		}
	}
	return end
}

// podChanged adds, changes or ends the pod as the owner of its addresses.
func (k *Kubernetes) podChanged(before, now info, last runtime.Object) {
	at := k.options.Clock()
	old, _ := before.(*podInfo)
	p, _ := now.(*podInfo)
	if old != nil && p != nil && old.uid != p.uid { // deleted and made again in a gap of the watch
		k.removePod(old, at, nil)
		old = nil
	}
	switch {
	case p == nil || p.ended:
		if old != nil && !old.ended {
			k.removePod(old, at, last)
		}
	default:
		if old != nil {
			for _, a := range old.ips {
				if !slices.Contains(p.ips, a) {
					k.owners.release(a, p.uid, pod, at)
				}
			}
		}
		k.addPod(p, at)
	}
	k.countHosts(old, p)
}

func (k *Kubernetes) addPod(p *podInfo, at time.Duration) {
	from, certain := k.ownedSince(&k.pods, at), at
	if !p.began.IsZero() {
		// Kubernetes truncates times to seconds.
		from = min(at, k.monotonic(p.began))
		if p.proven {
			certain = min(at, from+time.Second)
		}
	}
	for _, a := range p.ips {
		if k.owners.acquire(a, owner{
			uid: p.uid, rank: pod, local: p.id.Node == k.options.Node, id: p.id, from: from, certain: certain,
		}, p.proven, at) > 0 {
			k.conflicts.Add(1)
			k.log.Warn("two pods have the same address; its packets have no name until one of them is gone", "address", a,
				"pod", p.id.Namespace+"/"+p.id.Pod)
		}
	}
}

func (k *Kubernetes) removePod(p *podInfo, at time.Duration, last runtime.Object) {
	end := at
	if state, ok := last.(*corev1.Pod); ok && p.id.Node == k.options.Node {
		if t := ending(state); !t.IsZero() {
			end = min(at, k.monotonic(t)+time.Second)
		}
	}
	for _, a := range p.ips {
		k.owners.release(a, p.uid, pod, end)
	}
}

// countHosts makes the nodes of known pods the owners of the addresses that the pods have for them.
func (k *Kubernetes) countHosts(old, now *podInfo) {
	if now != nil {
		for _, a := range now.hosts {
			if k.hostPods[a]++; k.hostPods[a] == 1 {
				id := &aggregate.Identity{Workload: aggregate.NodeWorkload, Node: now.id.Node}
				k.owners.acquire(a, owner{uid: hostUID, rank: host, id: id}, true, k.options.Clock())
			}
		}
	}
	if old != nil {
		for _, a := range old.hosts {
			if k.hostPods[a]--; k.hostPods[a] == 0 {
				delete(k.hostPods, a)
				k.owners.release(a, hostUID, host, forever)
			}
		}
	}
}
