package identity

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tracer/internal/aggregate"
)

// serviceFact is what is kept of a Service: its virtual addresses, of which there are none if it is headless.
type serviceFact struct {
	bare
	uid string
	id  *aggregate.Identity
	ips []netip.Addr
}

func (s *serviceFact) DeepCopyObject() runtime.Object { return s }

func decodeService(data []byte) (runtime.Object, error) {
	s := &corev1.Service{}
	return s, s.Unmarshal(data)
}

func (k *Kubernetes) stripService(object runtime.Object) fact {
	s := object.(*corev1.Service)
	f := &serviceFact{uid: string(s.UID)}
	f.Name, f.Namespace = s.Name, k.intern(s.Namespace)
	f.id = &aggregate.Identity{Namespace: f.Namespace, Service: s.Name}
	for _, lists := range [][]string{s.Spec.ClusterIPs, {s.Spec.ClusterIP}, s.Spec.ExternalIPs} {
		for _, ip := range lists {
			f.ips = appendAddress(f.ips, ip) // "None" is no address
		}
	}
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		f.ips = appendAddress(f.ips, ingress.IP)
	}
	return f
}

func (k *Kubernetes) serviceChanged(before, now fact, _ runtime.Object) {
	at := k.options.Clock()
	old, _ := before.(*serviceFact)
	s, _ := now.(*serviceFact)
	if old != nil {
		for _, a := range old.ips {
			if s == nil || s.uid != old.uid || !slices.Contains(s.ips, a) {
				k.holdings.release(a, old.uid, service, at)
			}
		}
	}
	if s != nil {
		for _, a := range s.ips {
			k.holdings.claim(a, holder{uid: s.uid, rank: service, id: s.id, from: k.since(&k.services, at), sure: at}, false, at)
		}
	}
}

// sliceFact is what is kept of an EndpointSlice: the pods behind one Service, or some of them.
type sliceFact struct {
	bare
	service string
	pods    []backend
}

// backend is a pod behind a Service, with one of its addresses.
type backend struct {
	claimKey
	pod, node string
}

func (s *sliceFact) DeepCopyObject() runtime.Object { return s }

func decodeSlice(data []byte) (runtime.Object, error) {
	s := &discoveryv1.EndpointSlice{}
	return s, s.Unmarshal(data)
}

func (k *Kubernetes) stripSlice(object runtime.Object) fact {
	s := object.(*discoveryv1.EndpointSlice)
	f := &sliceFact{service: k.intern(s.Labels[discoveryv1.LabelServiceName])}
	f.Name, f.Namespace = s.Name, k.intern(s.Namespace)
	if s.AddressType == discoveryv1.AddressTypeFQDN || f.service == "" {
		return f
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.UID == "" {
			continue // nothing says whose address it is
		}
		b := backend{claimKey: claimKey{uid: string(e.TargetRef.UID)}, pod: e.TargetRef.Name}
		if e.NodeName != nil {
			b.node = k.intern(*e.NodeName)
		}
		for _, address := range e.Addresses {
			if list := appendAddress(nil, address); len(list) == 1 {
				b.address = list[0]
				f.pods = append(f.pods, b)
			}
		}
	}
	return f
}

// claimKey is a pod's hold on one address.
type claimKey struct {
	address netip.Addr
	uid     string
}

// sliceChanged claims and releases the addresses of a Service's pods. Several slices may have the same, of one Service or
// of more: k.backends has the name of the Service for each.
func (k *Kubernetes) sliceChanged(before, now fact, _ runtime.Object) {
	old, _ := before.(*sliceFact)
	s, _ := now.(*sliceFact)
	at := k.options.Clock()
	same := map[claimKey]backend{}
	if old != nil {
		for _, b := range old.pods {
			same[b.claimKey] = b
		}
	}
	if s != nil {
		done := map[claimKey]bool{}
		for _, b := range s.pods {
			if done[b.claimKey] {
				continue
			}
			done[b.claimKey] = true
			if was, ok := same[b.claimKey]; ok && was == b && old.service == s.service {
				delete(same, b.claimKey)
				continue
			}
			if len(k.backends[b.claimKey]) == 0 {
				k.behind[b.address]++
			}
			// The new one first: what stays is at no time released.
			k.backends[b.claimKey] = append(k.backends[b.claimKey], s.service)
			k.claimBackend(s.Namespace, b, at)
		}
	}
	for key, b := range same {
		services := k.backends[key]
		if i := slices.Index(services, old.service); i >= 0 {
			services = slices.Delete(services, i, i+1)
		}
		if len(services) > 0 {
			k.backends[key] = services
			k.claimBackend(old.Namespace, b, at)
			continue
		}
		delete(k.backends, key)
		k.holdings.release(b.address, b.uid, endpoint, at)
		if k.behind[b.address]--; k.behind[b.address] == 0 {
			delete(k.behind, b.address)
			k.holdings.release(b.address, hostBehindUID, host, at)
		}
	}
}

func (k *Kubernetes) claimBackend(namespace string, b backend, at time.Duration) {
	id := &aggregate.Identity{Namespace: namespace, Pod: b.pod, Node: b.node}
	services := k.backends[b.claimKey]
	if !slices.ContainsFunc(services, func(s string) bool { return s != services[0] }) {
		id.Workload = services[0] // else no Service's name is the workload's
	}
	h := holder{uid: b.uid, rank: endpoint, id: id, from: k.since(&k.slices, at), sure: at}
	if k.isNode(b.address) {
		// A pod in its node's network namespace: the address is the whole node's, of which it may be one of many.
		h.uid, h.rank, h.id = hostBehindUID, host, &aggregate.Identity{Workload: nodeWorkload, Node: b.node}
	}
	k.holdings.claim(b.address, h, false, at)
}
