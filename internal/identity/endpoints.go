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
	service string
	of      string        // the Service as namespace/name; "" if that has no address of its own
	ports   []servicePort // at which the endpoints answer for it
	pods    []podEndpoint
	others  []netip.Addr // of endpoints that are no pods
	ready   record.ServiceEndpoints
}

// podEndpoint is a pod behind a Service, with one of its addresses.
type podEndpoint struct {
	endpointKey
	pod, node string
	// implied: that it owns the address is not in the table of owners, since there is nothing more to tell (see implied_owner.go).
	implied bool
}

// same tells whether two say the same, whatever the table of owners has.
func (e *podEndpoint) same(o *podEndpoint) bool {
	return e.endpointKey == o.endpointKey && e.pod == o.pod && e.node == o.node
}

func (s *sliceInfo) DeepCopyObject() runtime.Object { return s }

func decodeSlice(data []byte) (runtime.Object, error) {
	s := &discoveryv1.EndpointSlice{}
	return s, s.Unmarshal(data)
}

func (k *Kubernetes) stripSlice(object runtime.Object) info {
	s := object.(*discoveryv1.EndpointSlice)
	info := &sliceInfo{service: k.strings.intern(s.Labels[discoveryv1.LabelServiceName])}
	info.Name, info.Namespace = s.Name, k.strings.intern(s.Namespace)
	if s.AddressType == discoveryv1.AddressTypeFQDN || info.service == "" {
		return info
	}
	if _, headless := s.Labels[corev1.IsHeadlessService]; !headless {
		info.of, info.ports = k.strings.intern(info.Namespace+"/"+info.service), servicePorts(s)
	}
	info.pods = make([]podEndpoint, 0, len(s.Endpoints)) // most pods have one address
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
		of := podEndpoint{endpointKey: endpointKey{uid: string(e.TargetRef.UID)}, pod: e.TargetRef.Name}
		if e.NodeName != nil {
			of.node = k.strings.intern(*e.NodeName)
		}
		for _, address := range e.Addresses {
			if a, ok := parseAddress(address); ok {
				of.address = a
				info.pods = append(info.pods, of)
			}
		}
	}
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
	of map[string]*serviceEndpoints // by namespace/name
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
		if s == nil || s.service == "" {
			return
		}
		name := s.Namespace + "/" + s.service
		e := c.of[name]
		if e == nil {
			e = &serviceEndpoints{}
			c.of[name] = e
		}
		e.slices, e.Ready, e.Local = e.slices+sign, e.Ready+sign*s.ready.Ready, e.Local+sign*s.ready.Local
		if e.slices == 0 {
			delete(c.of, name)
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
	e := k.endpoints.of[service]
	if e == nil || !k.slices.synced.Load() {
		return record.ServiceEndpoints{}, false
	}
	return e.ServiceEndpoints, true
}

// endpointKey is a pod and one of its addresses.
type endpointKey struct {
	address netip.Addr
	uid     string
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
	gone := map[endpointKey]*podEndpoint{}
	if old != nil {
		for i := range old.pods {
			gone[old.pods[i].endpointKey] = &old.pods[i]
		}
	}
	var added []*podEndpoint
	if s != nil {
		done, implied := map[endpointKey]bool{}, false
		for i := range s.pods {
			e := &s.pods[i]
			if done[e.endpointKey] {
				continue
			}
			done[e.endpointKey] = true
			was, had := gone[e.endpointKey]
			delete(gone, e.endpointKey)
			switch {
			case had && was.same(e) && old.service == s.service:
				continue
			case had:
				k.owners.keep(e.address)
			case k.mayImply(s, i):
				e.implied, implied = true, true
				continue
			}
			added = append(added, e)
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
		k.addEndpoint(s.Namespace, e, at)
	}
	for key, e := range gone {
		services, known := k.endpointIndex.services(key.address, key.uid)
		if len(services) > 0 {
			k.addEndpoint(old.Namespace, e, at)
			continue
		}
		k.owners.release(e.address, e.uid, endpoint, at)
		if !known {
			k.owners.release(e.address, hostEndpointUID, host, at)
		}
	}
}

func (k *Kubernetes) addEndpoint(namespace string, e *podEndpoint, at time.Duration) {
	id := &aggregate.Identity{Namespace: namespace, Pod: e.pod, Node: e.node}
	if services, _ := k.endpointIndex.services(e.address, e.uid); len(services) == 1 {
		id.Workload = services[0] // else no Service's name is the workload's
	}
	o := owner{uid: e.uid, rank: endpoint, id: id, from: k.ownedSince(&k.slices, at), certain: at}
	if k.isNode(e.address) {
		// A pod in its node's network namespace: the address is the whole node's, of which it may be one of many.
		o.uid, o.rank, o.id = hostEndpointUID, host, &aggregate.Identity{Workload: aggregate.NodeWorkload, Node: e.node}
	}
	k.owners.acquire(e.address, o, false, at)
}
