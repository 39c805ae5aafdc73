package identity

import (
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// sliceInfo is what is kept of an EndpointSlice: the pods behind one Service, or some of them.
type sliceInfo struct {
	infoMeta
	of       string        // the Service as namespace/name; "" for none
	headless bool          // it has no address of its own
	ports    []servicePort // at which the endpoints answer for it
	pods     packedPods
	others   []netip.Addr // of endpoints that are no pods
	ready    record.ServiceEndpoints
	number   uint32 // in the index
}

// service is the Service's name.
func (s *sliceInfo) service() string { return s.of[min(len(s.namespace.String())+1, len(s.of)):] }

func (s *sliceInfo) DeepCopyObject() runtime.Object { return s }

func decodeSlice(data []byte) (runtime.Object, error) {
	s := &discoveryv1.EndpointSlice{}
	return s, s.Unmarshal(data)
}

func (k *Kubernetes) stripSlice(object runtime.Object) info {
	s := object.(*discoveryv1.EndpointSlice)
	info := &sliceInfo{infoMeta: metaOf(s)}
	if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
		info.of = s.Namespace + "/" + name
	}
	if s.AddressType == discoveryv1.AddressTypeFQDN || info.of == "" {
		return info
	}
	if _, info.headless = s.Labels[corev1.IsHeadlessService]; !info.headless {
		info.ports = servicePorts(s)
	}
	pods := make([]podEndpoint, 0, len(s.Endpoints)) // most pods have one address
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if usable(&e.Conditions) {
			info.ready.Ready++
			if e.NodeName != nil && *e.NodeName == k.options.Node {
				info.ready.Local++
			}
		}
		if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.UID == "" {
			for _, a := range e.Addresses {
				info.others = appendAddress(info.others, a)
			}
			continue // nothing says whose address it is
		}
		of := podEndpoint{endpointKey: endpointKey{uid: k.endpointIndex.hashUID(string(e.TargetRef.UID))}, pod: e.TargetRef.Name}
		if e.NodeName != nil {
			of.node = share(*e.NodeName)
		}
		for _, address := range e.Addresses {
			if a, ok := parseAddress(address); ok {
				of.address = a
				pods = append(pods, of)
			}
		}
	}
	info.pods = packPods(pods)
	return info
}

// usable tells whether traffic goes to an endpoint: it is ready, or is ending and serves as long as no other is.
func usable(c *discoveryv1.EndpointConditions) bool {
	is := func(condition *bool) bool { return condition != nil && *condition }
	return c.Ready == nil || *c.Ready || is(c.Serving) && is(c.Terminating)
}

// endpointCounts are how many endpoints Services have, as their slices tell.
type endpointCounts struct {
	mu sync.Mutex
	of map[string]serviceEndpoints // by namespace/name
}

// serviceEndpoints are a Service's, in so many slices.
type serviceEndpoints struct {
	record.ServiceEndpoints
	slices int
}

// change counts what a slice has now in place of what it had.
func (c *endpointCounts) change(before, now *sliceInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add := func(s *sliceInfo, sign int) {
		if s == nil || s.of == "" {
			return
		}
		e := c.of[s.of]
		e.slices, e.Ready, e.Local = e.slices+sign, e.Ready+sign*s.ready.Ready, e.Local+sign*s.ready.Local
		if c.of[s.of] = e; e.slices == 0 {
			delete(c.of, s.of)
		}
	}
	add(now, 1) // first, so that a Service that changes is at no time unknown
	add(before, -1)
}

// Endpoints are how many a Service, as namespace/name, has; false if it has no EndpointSlice, or these are not watched, as with
// ClusterScope.
func (k *Kubernetes) Endpoints(service string) (record.ServiceEndpoints, bool) {
	k.endpoints.mu.Lock()
	defer k.endpoints.mu.Unlock()
	e, ok := k.endpoints.of[service]
	if !ok || !k.slices.synced.Load() {
		return record.ServiceEndpoints{}, false
	}
	return e.ServiceEndpoints, true
}

// sliceChanged adds and removes the endpoints of a Service. Several slices may have the same endpoint, of one Service or of more.
func (k *Kubernetes) sliceChanged(before, now info, _ runtime.Object) {
	old, _ := before.(*sliceInfo)
	s, _ := now.(*sliceInfo)
	k.endpoints.change(old, s)
	k.endpointIndex.changing.Lock()
	defer k.endpointIndex.changing.Unlock()
	if !old.answersAs(s) {
		defer k.owners.version.Add(1)
	}
	at := k.options.Clock()
	gone := map[endpointKey]int{} // where they were
	if old != nil {
		for i := range old.pods.len() {
			gone[old.pods.key(i)] = i
		}
	}
	var added []podEndpoint
	if s != nil {
		done, implied := map[endpointKey]bool{}, false
		for i := range s.pods.len() {
			key := s.pods.key(i)
			if done[key] {
				continue
			}
			done[key] = true
			was, had := gone[key]
			delete(gone, key)
			switch {
			case had && old.of == s.of && s.pods.same(i, &old.pods, was):
				continue
			case had:
				k.owners.keep(key.address)
			case k.mayImply(s, i):
				s.pods.imply(i)
				implied = true
				continue
			}
			added = append(added, s.pods.at(i))
		}
		if implied {
			defer k.owners.implied(at)
		}
	}
	for key := range gone {
		k.owners.keep(key.address)
	}
	k.endpointIndex.change(old, s)
	for _, e := range added { // first, so that an endpoint that moves is at no time released
		k.addEndpoint(s.namespace, e, at)
	}
	for key, i := range gone {
		services, known := k.endpointIndex.services(key)
		if len(services) > 0 {
			k.addEndpoint(old.namespace, old.pods.at(i), at)
			continue
		}
		k.owners.release(key.address, key.uid.String(), endpoint, at)
		if !known {
			k.owners.release(key.address, hostEndpointUID, host, at)
		}
	}
}

func (k *Kubernetes) addEndpoint(namespace sharedString, e podEndpoint, at time.Duration) {
	id := &aggregate.Identity{Namespace: namespace.String(), Pod: e.pod, Node: e.node.String()}
	if services, _ := k.endpointIndex.services(e.endpointKey); len(services) == 1 {
		id.Workload = services[0] // else no Service's name is the workload's
	}
	o := owner{uid: e.uid.String(), rank: endpoint, id: id, from: k.ownedSince(&k.slices, at), certain: at}
	if k.isNode(e.address) {
		// A pod in its node's network namespace: the address is the whole node's, of which it may be one of many.
		o.uid, o.rank, o.id = hostEndpointUID, host, &aggregate.Identity{Workload: aggregate.NodeWorkload, Node: id.Node}
	}
	k.owners.acquire(e.address, o, false, at)
}
