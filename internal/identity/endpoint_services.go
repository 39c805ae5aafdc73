package identity

import (
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/record"
)

// endpointServices tells of which Services addresses are endpoints.
type endpointServices struct {
	mu sync.RWMutex
	of map[netip.Addr][]*servicePorts
}

// servicePorts are those at which the endpoints of a slice answer for its Service.
type servicePorts struct {
	service   string // namespace/name
	addresses []netip.Addr
	ports     []servicePort
}

type servicePort struct {
	port     uint16 // 0 for all
	protocol record.Protocol
}

// newServicePorts are those of a slice; nil of a headless Service, which has no address of its own.
func newServicePorts(s *discoveryv1.EndpointSlice, service string) *servicePorts {
	if _, headless := s.Labels[corev1.IsHeadlessService]; headless {
		return nil
	}
	p := &servicePorts{service: service}
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
		p.ports = append(p.ports, port)
	}
	for i := range s.Endpoints {
		for _, a := range s.Endpoints[i].Addresses {
			p.addresses = appendAddress(p.addresses, a)
		}
	}
	return p
}

// change puts what a slice has now in the place of what it had, and tells whether that differs.
func (e *endpointServices) change(before, now *sliceInfo) bool {
	var old, of *servicePorts
	if before != nil {
		old = before.of
	}
	if now != nil {
		of = now.of
	}
	if old.equal(of) {
		if now != nil {
			now.of = old
		}
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if of != nil {
		for _, a := range of.addresses {
			e.of[a] = append(e.of[a], of)
		}
	}
	if old != nil {
		for _, a := range old.addresses {
			left := slices.DeleteFunc(e.of[a], func(p *servicePorts) bool { return p == old })
			if e.of[a] = left; len(left) == 0 {
				delete(e.of, a)
			}
		}
	}
	return true
}

func (p *servicePorts) equal(o *servicePorts) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.service == o.service && slices.Equal(p.ports, o.ports) && slices.Equal(p.addresses, o.addresses)
}

// EndpointOf is the Service, as namespace/name, that an address with a port is an endpoint of; "" if it is none's, or that of
// several. Services without an address of their own do not count. With ClusterScope it is not known.
func (k *Kubernetes) EndpointOf(to netip.AddrPort, protocol record.Protocol) (service string) {
	e := &k.endpointOf
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, p := range e.of[to.Addr().Unmap().WithZone("")] {
		for _, port := range p.ports {
			if port.protocol != protocol || port.port != 0 && port.port != to.Port() {
				continue
			}
			if service != "" && service != p.service {
				return ""
			}
			service = p.service
		}
	}
	return service
}
