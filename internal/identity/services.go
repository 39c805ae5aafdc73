package identity

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tracer/internal/aggregate"
)

// serviceInfo is what is kept of a Service: its virtual addresses, of which there are none if it is headless.
type serviceInfo struct {
	infoMeta
	uid uidHash
	ips []netip.Addr
}

func (s *serviceInfo) identity() aggregate.Identity {
	return aggregate.Identity{Namespace: s.namespace.String(), Service: s.name}
}

func (s *serviceInfo) DeepCopyObject() runtime.Object { return s }

func decodeService(data []byte) (runtime.Object, error) {
	s := &corev1.Service{}
	return s, s.Unmarshal(data)
}

func (k *Kubernetes) stripService(object runtime.Object) info {
	s := object.(*corev1.Service)
	info := &serviceInfo{infoMeta: metaOf(s), uid: k.endpointIndex.hashUID(string(s.UID))}
	for _, lists := range [][]string{s.Spec.ClusterIPs, {s.Spec.ClusterIP}, s.Spec.ExternalIPs} {
		for _, ip := range lists {
			info.ips = appendAddress(info.ips, ip) // "None" is no address
		}
	}
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		info.ips = appendAddress(info.ips, ingress.IP)
	}
	return info
}

func (k *Kubernetes) serviceChanged(before, now info, _ runtime.Object) {
	at := k.options.Clock()
	old, _ := before.(*serviceInfo)
	s, _ := now.(*serviceInfo)
	had := func(a netip.Addr) bool { return old != nil && slices.Contains(old.ips, a) }
	if old != nil {
		for _, a := range old.ips {
			if s == nil || s.uid != old.uid || !slices.Contains(s.ips, a) {
				k.owners.release(a, old.uid.String(), service, at)
			}
		}
	}
	if s != nil {
		for _, a := range s.ips {
			if had(a) && s.uid == old.uid || old == nil && !k.services.synced.Load() && k.owners.implyService(a, s, at) {
				continue
			}
			id := s.identity()
			k.owners.acquire(a, owner{uid: s.uid.String(), rank: service, id: &id, from: k.ownedSince(&k.services, at), certain: at}, false, at)
		}
	}
}
