package identity

import (
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"tracer/internal/record"
)

// endpointIndex tells which EndpointSlices have an address. In a large cluster it has every pod's, nearly all of which are in one slice:
// what else there is to know of an endpoint is looked up in that. Addresses are found by a hash, which in turn several may have.
type endpointIndex struct {
	seed maphash.Seed // of the hashes of addresses and UIDs

	mu     sync.RWMutex // the slices' informer alone writes, and need not lock to read
	of     map[uint32]uint32
	more   map[uint32][]uint32 // the others, of hashes that are in several slices
	slices []*sliceInfo        // by number; nil where none has that number
	free   []uint32            // the numbers that none has
	// changing is held while a slice changes: no owner becomes implied meanwhile.
	changing sync.Mutex
}

func newEndpointIndex() *endpointIndex {
	return &endpointIndex{seed: maphash.MakeSeed(), of: map[uint32]uint32{}, more: map[uint32][]uint32{}}
}

func (x *endpointIndex) hash(a netip.Addr) uint32 {
	b := a.As16()
	return uint32(maphash.Bytes(x.seed, b[:]))
}

func (x *endpointIndex) hashUID(uid string) uidHash { return uidHash(maphash.String(x.seed, uid)) }

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
	switch {
	case before != nil && now != nil:
		now.number = before.number
		if before.of == now.of {
			for i := range before.pods.len() {
				if before.pods.implied(i) {
					if k := now.pods.find(&before.pods, i); k >= 0 {
						now.pods.imply(k)
					}
				}
			}
		}
	case now != nil && len(x.free) > 0:
		now.number, x.free = x.free[len(x.free)-1], x.free[:len(x.free)-1]
	case now != nil:
		now.number, x.slices = uint32(len(x.slices)), append(x.slices, nil)
	case before != nil:
		x.free = append(x.free, before.number)
	default:
		return
	}
	has := map[uint32]bool{}
	now.each(func(a netip.Addr) {
		h := x.hash(a)
		has[h] = true
		x.add(h, now.number)
	})
	before.each(func(a netip.Addr) {
		if h := x.hash(a); !has[h] {
			x.remove(h, before.number)
		}
	})
	if now != nil {
		x.slices[now.number] = now
	} else {
		x.slices[before.number] = nil
	}
}

// each calls yield for the slice's addresses, which may be in it more than once.
func (s *sliceInfo) each(yield func(netip.Addr)) {
	if s == nil {
		return
	}
	for i := range s.pods.len() {
		yield(s.pods.address(i))
	}
	for _, a := range s.others {
		yield(a)
	}
}

// has tells whether an address is in the slice.
func (s *sliceInfo) has(address netip.Addr) (has bool) {
	s.pods.each(address, func(int) bool { has = true; return false })
	return has || slices.Contains(s.others, address)
}

func (x *endpointIndex) add(hash, number uint32) {
	switch first, ok := x.of[hash]; {
	case !ok:
		x.of[hash] = number
	case first != number && !slices.Contains(x.more[hash], number):
		x.more[hash] = append(x.more[hash], number)
	}
}

func (x *endpointIndex) remove(hash, number uint32) {
	first, ok := x.of[hash]
	if !ok {
		return
	}
	more := slices.DeleteFunc(x.more[hash], func(o uint32) bool { return o == number })
	if first == number {
		delete(x.of, hash)
		if len(more) > 0 {
			x.of[hash], more = more[0], more[1:]
		}
	}
	if x.more[hash] = more; len(more) == 0 {
		delete(x.more, hash)
	}
}

// with are the slices that have an address.
func (x *endpointIndex) with(address netip.Addr) iter.Seq[*sliceInfo] {
	return func(yield func(*sliceInfo) bool) {
		hash := x.hash(address)
		first, ok := x.of[hash]
		if !ok {
			return
		}
		if s := x.slices[first]; s.has(address) && !yield(s) {
			return
		}
		for _, number := range x.more[hash] {
			if s := x.slices[number]; s.has(address) && !yield(s) {
				return
			}
		}
	}
}

// services are the names of those, each once, of which a pod with that address is an endpoint. known tells whether any pod is one there.
func (x *endpointIndex) services(key endpointKey) (names []string, known bool) {
	for s := range x.with(key.address) {
		s.pods.each(key.address, func(i int) bool {
			known = true
			if name := s.service(); s.pods.key(i) == key && !slices.Contains(names, name) {
				names = append(names, name)
			}
			return true
		})
	}
	return names, known
}

// answers tells whether EndpointOf may have the slice's Service for an answer.
func (s *sliceInfo) answers() bool { return s != nil && s.of != "" && !s.headless }

// answersAs tells whether EndpointOf has the same answers with o in the place of s.
func (s *sliceInfo) answersAs(o *sliceInfo) bool {
	if !s.answers() || !o.answers() {
		return s.answers() == o.answers()
	}
	if s.of != o.of || !slices.Equal(s.ports, o.ports) || !slices.Equal(s.others, o.others) || s.pods.len() != o.pods.len() {
		return false
	}
	for i := range s.pods.len() {
		if s.pods.address(i) != o.pods.address(i) {
			return false
		}
	}
	return true
}

// serves tells whether the slice's endpoints answer for their Service at a port.
func (s *sliceInfo) serves(port uint16, protocol record.Protocol) bool {
	return s.answers() && slices.ContainsFunc(s.ports, func(p servicePort) bool {
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
