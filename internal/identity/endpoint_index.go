package identity

import (
	"iter"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/record"
)

// endpointIndex tells which EndpointSlices have an address. In a large cluster it has every pod's, nearly all of which are in one slice:
// what else there is to know of an endpoint is looked up in that.
type endpointIndex struct {
	mu   sync.RWMutex // the slices' informer alone writes, and need not lock to read
	of   map[netip.Addr]*sliceInfo
	more map[netip.Addr][]*sliceInfo // the others, of those that are in several
	// changing is held while a slice changes: no owner becomes implied meanwhile.
	changing sync.Mutex
}

func newEndpointIndex() *endpointIndex {
	return &endpointIndex{of: map[netip.Addr]*sliceInfo{}, more: map[netip.Addr][]*sliceInfo{}}
}

// servicePort is a port at which endpoints answer for their Service.
type servicePort struct {
	port     uint16 // 0 for all
	protocol record.Protocol
}

// servicePorts are those of a slice.
func servicePorts(s *discoveryv1.EndpointSlice) []servicePort {
	ports := make([]servicePort, 0, len(s.Ports))
	for i := range s.Ports {
		var port servicePort
		if n := s.Ports[i].Port; n != nil {
			port.port = uint16(*n)
		}
		switch protocol := s.Ports[i].Protocol; {
		case protocol == nil || *protocol == corev1.ProtocolTCP:
			port.protocol = record.ProtocolTCP
		case *protocol == corev1.ProtocolUDP:
			port.protocol = record.ProtocolUDP
		case *protocol == corev1.ProtocolSCTP:
			port.protocol = record.ProtocolSCTP
		}
		ports = append(ports, port)
	}
	return ports
}

// change puts what a slice has now in the place of what it had. Owners stay implied of whom it says the same.
func (x *endpointIndex) change(before, now *sliceInfo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if before != nil && now != nil && before.service == now.service {
		for i := range before.pods {
			if e := &before.pods[i]; e.implied {
				if k := slices.IndexFunc(now.pods, func(o podEndpoint) bool { return e.same(&o) }); k >= 0 {
					now.pods[k].implied = true
				}
			}
		}
	}
	before.each(func(a netip.Addr) { x.remove(a, before) })
	now.each(func(a netip.Addr) { x.add(a, now) })
}

// each calls yield for the slice's addresses, which may be in it more than once.
func (s *sliceInfo) each(yield func(netip.Addr)) {
	if s == nil {
		return
	}
	for i := range s.pods {
		yield(s.pods[i].address)
	}
	for _, a := range s.others {
		yield(a)
	}
}

func (x *endpointIndex) add(a netip.Addr, s *sliceInfo) {
	switch first := x.of[a]; {
	case first == nil:
		x.of[a] = s
	case first != s && !slices.Contains(x.more[a], s):
		x.more[a] = append(x.more[a], s)
	}
}

func (x *endpointIndex) remove(a netip.Addr, s *sliceInfo) {
	more := slices.DeleteFunc(x.more[a], func(o *sliceInfo) bool { return o == s })
	if x.of[a] == s {
		delete(x.of, a)
		if len(more) > 0 {
			x.of[a], more = more[0], more[1:]
		}
	}
	if x.more[a] = more; len(more) == 0 {
		delete(x.more, a)
	}
}

// with are the slices that have an address.
func (x *endpointIndex) with(address netip.Addr) iter.Seq[*sliceInfo] {
	return func(yield func(*sliceInfo) bool) {
		if first := x.of[address]; first == nil || !yield(first) {
			return
		}
		for _, s := range x.more[address] {
			if !yield(s) {
				return
			}
		}
	}
}

// services are the names of those, each once, of which a pod with that address is an endpoint. known tells whether any pod is one there.
func (x *endpointIndex) services(address netip.Addr, uid string) (names []string, known bool) {
	for s := range x.with(address) {
		for i := range s.pods {
			e := &s.pods[i]
			if e.address != address {
				continue
			}
			if known = true; e.uid == uid && !slices.Contains(names, s.service) {
				names = append(names, s.service)
			}
		}
	}
	return names, known
}

// answersAs tells whether EndpointOf has the same answers with o in the place of s.
func (s *sliceInfo) answersAs(o *sliceInfo) bool {
	if s == nil || s.of == "" || o == nil || o.of == "" {
		return (s == nil || s.of == "") && (o == nil || o.of == "")
	}
	if s.of != o.of || !slices.Equal(s.ports, o.ports) || !slices.Equal(s.others, o.others) || len(s.pods) != len(o.pods) {
		return false
	}
	for i := range s.pods {
		if s.pods[i].address != o.pods[i].address {
			return false
		}
	}
	return true
}

// serves tells whether the slice's endpoints answer for their Service at a port.
func (s *sliceInfo) serves(port uint16, protocol record.Protocol) bool {
	return s.of != "" && slices.ContainsFunc(s.ports, func(p servicePort) bool {
		return p.protocol == protocol && (p.port == 0 || p.port == port)
	})
}

// EndpointOf is the Service, as namespace/name, that an address with a port is an endpoint of; "" if it is none's, or that of
// several. Services without an address of their own do not count. With ClusterScope it is not known.
func (k *Kubernetes) EndpointOf(to netip.AddrPort, protocol record.Protocol) (service string) {
	x, address := k.endpointIndex, to.Addr().Unmap().WithZone("")
	x.mu.RLock()
	defer x.mu.RUnlock()
	for s := range x.with(address) {
		if !s.serves(to.Port(), protocol) {
			continue
		}
		if service != "" && service != s.of {
			return ""
		}
		service = s.of
	}
	return service
}
