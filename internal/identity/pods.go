package identity

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"tracer/internal/aggregate"
)

// podFact is what is kept of a pod.
type podFact struct {
	bare
	uid   string
	id    *aggregate.Identity
	ips   []netip.Addr // its own; none of a pod in its node's network namespace
	hosts []netip.Addr // its node's
	// began is when it had the addresses at the earliest, zero if unknown; proven if its processes ran by then.
	began  time.Time
	proven bool
	ended  bool // its processes are gone, and its addresses may be somebody else's
}

func (p *podFact) DeepCopyObject() runtime.Object { return p }

func decodePod(data []byte) (runtime.Object, error) {
	p := &corev1.Pod{}
	return p, p.Unmarshal(data)
}

// stripPod keeps what names need. local tells which node's clock is ours.
func (k *Kubernetes) stripPod(object runtime.Object) fact {
	p := object.(*corev1.Pod)
	f := &podFact{uid: string(p.UID), ended: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed}
	f.Name, f.Namespace = p.Name, k.intern(p.Namespace)
	f.id = &aggregate.Identity{
		Namespace: f.Namespace, Pod: p.Name, Workload: k.intern(workloadOf(p)), Node: k.intern(p.Spec.NodeName),
		Bandwidth: bandwidthOf(p),
	}
	for _, ip := range p.Status.HostIPs {
		f.hosts = appendAddress(f.hosts, ip.IP)
	}
	f.hosts = appendAddress(f.hosts, p.Status.HostIP)
	if !p.Spec.HostNetwork {
		for _, ip := range p.Status.PodIPs {
			f.ips = appendAddress(f.ips, ip.IP)
		}
		f.ips = appendAddress(f.ips, p.Status.PodIP)
		// Host ports aside, a node's address is never a pod's.
		f.ips = slices.DeleteFunc(f.ips, func(a netip.Addr) bool { return slices.Contains(f.hosts, a) })
	}
	// Another node's clock may be wrong.
	if p.Spec.NodeName == k.options.Node {
		f.began, f.proven = beginning(p)
	}
	return f
}

// bandwidthAnnotation is what the CNI's bandwidth plugin goes by, for what a pod receives.
const bandwidthAnnotation = "kubernetes.io/ingress-bandwidth"

// bandwidthOf is how many bits a second a pod is to receive at most; 0 without a limit, and where it makes no sense.
func bandwidthOf(p *corev1.Pod) uint64 {
	text, ok := p.Annotations[bandwidthAnnotation]
	if !ok {
		return 0
	}
	q, err := quantity.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return 0
	}
	return uint64(q.Value())
}

// appendAddress leaves out what is no address, or there already.
func appendAddress(list []netip.Addr, s string) []netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.IsUnspecified() {
		return list
	}
	if a = a.Unmap().WithZone(""); slices.Contains(list, a) {
		return list
	}
	return append(list, a)
}

// beginning is when a pod had its address at the earliest. Its first container starts only once it has one, and before
// that nobody sends.
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

// podChanged claims and releases a pod's addresses.
func (k *Kubernetes) podChanged(before, now fact, last runtime.Object) {
	at := k.options.Clock()
	old, _ := before.(*podFact)
	p, _ := now.(*podFact)
	if old != nil && p != nil && old.uid != p.uid { // deleted and made again in a gap of the watch
		k.endPod(old, at, nil)
		old = nil
	}
	switch {
	case p == nil || p.ended:
		if old != nil && !old.ended {
			k.endPod(old, at, last)
		}
	default:
		if old != nil {
			for _, a := range old.ips {
				if !slices.Contains(p.ips, a) {
					k.holdings.release(a, p.uid, pod, at)
				}
			}
		}
		k.claimPod(p, at)
	}
	k.countHosts(old, p)
}

func (k *Kubernetes) claimPod(p *podFact, at time.Duration) {
	from, sure := k.since(&k.pods, at), at
	if !p.began.IsZero() {
		// Kubernetes cuts times to the second.
		from = min(at, k.monotonic(p.began))
		if p.proven {
			sure = min(at, from+time.Second)
		}
	}
	for _, a := range p.ips {
		if k.holdings.claim(a, holder{
			uid: p.uid, rank: pod, local: p.id.Node == k.options.Node, id: p.id, from: from, sure: sure,
		}, p.proven, at) > 0 {
			k.conflicts.Add(1)
			k.log.Warn("two pods have one address; nobody is named until one of them is gone", "address", a,
				"pod", p.Namespace+"/"+p.Name)
		}
	}
}

func (k *Kubernetes) endPod(p *podFact, at time.Duration, last runtime.Object) {
	end := at
	if state, ok := last.(*corev1.Pod); ok && p.id.Node == k.options.Node {
		if t := ending(state); !t.IsZero() {
			end = min(at, k.monotonic(t)+time.Second)
		}
	}
	for _, a := range p.ips {
		k.holdings.release(a, p.uid, pod, end)
	}
}

// countHosts keeps the addresses of the nodes on which known pods are.
func (k *Kubernetes) countHosts(old, now *podFact) {
	if now != nil {
		for _, a := range now.hosts {
			if k.hostPods[a]++; k.hostPods[a] == 1 {
				id := &aggregate.Identity{Workload: nodeWorkload, Node: now.id.Node}
				k.holdings.claim(a, holder{uid: hostUID, rank: host, id: id}, true, k.options.Clock())
			}
		}
	}
	if old != nil {
		for _, a := range old.hosts {
			if k.hostPods[a]--; k.hostPods[a] == 0 {
				delete(k.hostPods, a)
				k.holdings.release(a, hostUID, host, forever)
			}
		}
	}
}
