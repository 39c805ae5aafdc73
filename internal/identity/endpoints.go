package identity

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// sliceInfo is what is kept of an EndpointSlice: the pods behind one Service, or some of them.
type sliceInfo struct {
	infoMeta
	service string
	pods    []podEndpoint
	of      *servicePorts // nil if its Service has no address
	ready   record.ServiceEndpoints
}

// podEndpoint is a pod behind a Service, with one of its addresses.
type podEndpoint struct {
	endpointKey
	pod, node string
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
	info.of = newServicePorts(s, info.Namespace+"/"+info.service)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if usable(&e.Conditions) {
			info.ready.Ready++
			if e.NodeName != nil && *e.NodeName == k.options.Node {
				info.ready.Local++
			}
		}
		if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.UID == "" {
			continue // nothing says whose address it is
		}
		of := podEndpoint{endpointKey: endpointKey{uid: string(e.TargetRef.UID)}, pod: e.TargetRef.Name}
		if e.NodeName != nil {
			of.node = k.strings.intern(*e.NodeName)
		}
		for _, address := range e.Addresses {
			if list := appendAddress(nil, address); len(list) == 1 {
				of.address = list[0]
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

// sliceChanged adds and removes the endpoints of a Service. Several slices may have the same endpoint, of one Service or of
// more: k.endpointServices has the name of the Service for each.
func (k *Kubernetes) sliceChanged(before, now info, _ runtime.Object) {
	old, _ := before.(*sliceInfo)
	s, _ := now.(*sliceInfo)
	k.endpoints.change(old, s)
	if k.endpointOf.change(old, s) {
		defer k.owners.version.Add(1)
	}
	at := k.options.Clock()
	same := map[endpointKey]podEndpoint{}
	if old != nil {
		for _, e := range old.pods {
			same[e.endpointKey] = e
		}
	}
	if s != nil {
		done := map[endpointKey]bool{}
		for _, e := range s.pods {
			if done[e.endpointKey] {
				continue
			}
			done[e.endpointKey] = true
			if was, ok := same[e.endpointKey]; ok && was == e && old.service == s.service {
				delete(same, e.endpointKey)
				continue
			}
			if len(k.endpointServices[e.endpointKey]) == 0 {
				k.endpointCount[e.address]++
			}
			// What is new first, so that an endpoint that moves is at no time released.
			k.endpointServices[e.endpointKey] = append(k.endpointServices[e.endpointKey], s.service)
			k.addEndpoint(s.Namespace, e, at)
		}
	}
	for key, e := range same {
		services := k.endpointServices[key]
		if i := slices.Index(services, old.service); i >= 0 {
			services = slices.Delete(services, i, i+1)
		}
		if len(services) > 0 {
			k.endpointServices[key] = services
			k.addEndpoint(old.Namespace, e, at)
			continue
		}
		delete(k.endpointServices, key)
		k.owners.release(e.address, e.uid, endpoint, at)
		if k.endpointCount[e.address]--; k.endpointCount[e.address] == 0 {
			delete(k.endpointCount, e.address)
			k.owners.release(e.address, hostEndpointUID, host, at)
		}
	}
}

func (k *Kubernetes) addEndpoint(namespace string, e podEndpoint, at time.Duration) {
	id := &aggregate.Identity{Namespace: namespace, Pod: e.pod, Node: e.node}
	services := k.endpointServices[e.endpointKey]
	if !slices.ContainsFunc(services, func(s string) bool { return s != services[0] }) {
		id.Workload = services[0] // else no Service's name is the workload's
	}
	o := owner{uid: e.uid, rank: endpoint, id: id, from: k.ownedSince(&k.slices, at), certain: at}
	if k.isNode(e.address) {
		// A pod in its node's network namespace: the address is the whole node's, of which it may be one of many.
		o.uid, o.rank, o.id = hostEndpointUID, host, &aggregate.Identity{Workload: aggregate.NodeWorkload, Node: e.node}
	}
	k.owners.acquire(e.address, o, false, at)
}
