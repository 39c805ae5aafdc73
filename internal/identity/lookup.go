package identity

import (
	"net/netip"
	"time"

	"tracer/internal/aggregate"
)

// Lookup names the owner of an address at that time. It neither blocks for long nor allocates, but for the first time in a while that it is
// asked for a pod of another node.
func (k *Kubernetes) Lookup(address netip.Addr, at time.Duration) aggregate.Identity {
	address = address.Unmap().WithZone("")
	id, named, owned := k.owners.at(address, at)
	switch {
	case named:
		return id
	case owned:
		k.misses.Add(1)
		return aggregate.Identity{}
	}
	if nodes := k.nodes.Load(); nodes != nil && nodes.addresses[address] {
		return aggregate.Identity{Workload: aggregate.NodeWorkload}
	}
	if id := k.options.Networks.find(address); id != nil {
		return *id
	}
	if address.IsLinkLocalUnicast() || address.IsMulticast() ||
		k.options.Scope == NodeScope && (address.IsPrivate() || sharedAddressSpace.Contains(address)) { // a pod elsewhere, for all we know
		return aggregate.Identity{Workload: aggregate.UnknownWorkload}
	}
	return aggregate.Identity{Workload: aggregate.ExternalWorkload}
}

// Version changes when an answer of Lookup may have changed. Answers for times from since on are the same until it
// changes again.
func (k *Kubernetes) Version() (version uint64, since time.Duration) {
	version = k.owners.version.Load() + 1
	return version, time.Duration(k.owners.since.Load())
}

// sharedAddressSpace is used by some clusters for pods (RFC 6598).
var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10")

// Resolved tells whether a pod, and which one, is known to have had the address at that time.
func (k *Kubernetes) Resolved(address netip.Addr, at time.Duration) bool {
	_, named, _ := k.owners.at(address.Unmap().WithZone(""), at)
	return named
}

// DeviceChanged tells that the address went from one pod's device on this node to another, or that its device is gone: the
// kernel knows before the API server.
func (k *Kubernetes) DeviceChanged(address netip.Addr, at time.Duration) {
	k.owners.deviceChanged(address.Unmap().WithZone(""), at)
}

// LocalPods returns the addresses that this node's pods have now.
func (k *Kubernetes) LocalPods() []netip.Addr {
	var list []netip.Addr
	k.owners.currentLocal(func(a netip.Addr, _ owner) { list = append(list, a) })
	return list
}

// LocalPod is the pod of this node that has the address now; ok is false if there is none.
func (k *Kubernetes) LocalPod(address netip.Addr) (namespace, name, uid string, ok bool) {
	address = address.Unmap().WithZone("")
	k.owners.currentLocal(func(a netip.Addr, o owner) {
		if a == address {
			namespace, name, uid, ok = o.id.Namespace, o.id.Pod, o.uid, true
		}
	})
	return namespace, name, uid, ok
}
