package identity

import (
	"net/netip"
	"slices"

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
	address        netip.Addr
	uid, pod, node string
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
		b := backend{uid: string(e.TargetRef.UID), pod: e.TargetRef.Name}
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

// claimed is a pod's hold on one address, as EndpointSlices have it: they may be several, of one Service or of more.
type claimed struct {
	backend
	services map[string]int // the Services that have it, by how many slices
}

type claimKey struct {
	address netip.Addr
	uid     string
}

func (k *Kubernetes) sliceChanged(before, now fact, _ runtime.Object) {
	old, _ := before.(*sliceFact)
	s, _ := now.(*sliceFact)
	at := k.options.Clock()
	touched := map[claimKey]bool{}
	// The new ones first: what stays is at no time released.
	if s != nil {
		for _, b := range s.pods {
			key := claimKey{b.address, b.uid}
			c := k.backends[key]
			if c == nil {
				c = &claimed{services: map[string]int{}}
				k.backends[key] = c
			}
			c.backend = b
			c.services[s.service]++
			touched[key] = true
		}
	}
	if old != nil {
		for _, b := range old.pods {
			key := claimKey{b.address, b.uid}
			if c := k.backends[key]; c != nil {
				if c.services[old.service]--; c.services[old.service] <= 0 {
					delete(c.services, old.service)
				}
				touched[key] = true
			}
		}
	}
	namespace := ""
	if s != nil {
		namespace = s.Namespace
	} else if old != nil {
		namespace = old.Namespace
	}
	for key := range touched {
		c := k.backends[key]
		if len(c.services) == 0 {
			delete(k.backends, key)
			k.holdings.release(key.address, key.uid, endpoint, at)
			k.holdings.release(key.address, key.uid, host, at)
			continue
		}
		id := aggregate.Identity{Namespace: namespace, Pod: c.pod, Node: c.node}
		if len(c.services) == 1 { // else no Service's name is the workload's
			for name := range c.services {
				id.Workload = name
			}
		}
		rank := endpoint
		if k.isNode(key.address) {
			// A pod in its node's network namespace: the address is the whole node's.
			rank, id = host, aggregate.Identity{Workload: nodeWorkload, Node: c.node}
		}
		k.holdings.claim(key.address, holder{uid: key.uid, rank: rank, id: &id, from: k.since(&k.slices, at), sure: at}, false, at)
	}
}
