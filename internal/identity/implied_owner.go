package identity

import (
	"net/netip"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// Of nearly all pods of a large cluster there is no more to tell than that they are an endpoint of one Service, and have had their address
// for as long as anybody may ask. That is in the EndpointSlice, and takes no place in the table of owners: such an owner is implied.
// Whoever changes what is known of its address puts it into the table first.

// mayImply tells whether that holds of a slice's endpoint, which is new: it is there when the agent starts, alone with its address.
func (k *Kubernetes) mayImply(s *sliceInfo, i int) bool {
	e := &s.pods[i]
	if k.slices.synced.Load() || k.isNode(e.address) || k.endpointIndex.of[e.address] != nil || k.owners.has(e.address) {
		return false
	}
	for j := range s.pods[:i] {
		if s.pods[j].address == e.address {
			return false
		}
	}
	return printable(s.identity(e))
}

func printable(id aggregate.Identity) bool {
	for _, name := range []string{id.Namespace, id.Pod, id.Workload, id.Node} {
		if record.Printable(name) != name {
			return false
		}
	}
	return true
}

// identity is who an endpoint of this slice, and of no other, is.
func (s *sliceInfo) identity(e *podEndpoint) aggregate.Identity {
	return aggregate.Identity{Namespace: s.Namespace, Pod: e.pod, Workload: s.service, Node: e.node}
}

// impliedAt is who owns an address if that is implied. It does not allocate.
func (x *endpointIndex) impliedAt(address netip.Addr) (id aggregate.Identity, uid string, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for s := range x.with(address) {
		if e := s.impliedAt(address); e != nil {
			return s.identity(e), e.uid, true
		}
	}
	return aggregate.Identity{}, "", false
}

// impliedAt is the endpoint with that address whose owner is implied; nil for none.
func (s *sliceInfo) impliedAt(address netip.Addr) *podEndpoint {
	for i := range s.pods {
		if e := &s.pods[i]; e.implied && e.address == address {
			return e
		}
	}
	return nil
}

// imply has an owner be implied of whom the slices say all that is known. It tells whether they do.
func (x *endpointIndex) imply(address netip.Addr, o *owner) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.of[address]
	if s == nil || len(x.more[address]) > 0 {
		return false
	}
	var only *podEndpoint
	for i := range s.pods {
		if s.pods[i].address != address {
			continue
		}
		if only != nil {
			return false
		}
		only = &s.pods[i]
	}
	if only == nil || only.uid != o.uid || s.identity(only) != *o.id {
		return false
	}
	only.implied = true
	return true
}

// impliedEndpoint is an endpoint whose owner is implied, in its slice.
type impliedEndpoint struct {
	slice *sliceInfo
	pod   *podEndpoint
}

func (e impliedEndpoint) address() netip.Addr { return e.pod.address }

// owner is the endpoint's address and who owns it.
func (e impliedEndpoint) owner() (netip.Addr, owner) {
	return e.pod.address, impliedOwner(e.slice.identity(e.pod), e.pod.uid)
}

// implied are all those that are.
func (x *endpointIndex) implied() (all []impliedEndpoint) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for address := range x.of {
		for s := range x.with(address) {
			if e := s.impliedAt(address); e != nil {
				all = append(all, impliedEndpoint{s, e})
			}
		}
	}
	return all
}

// impliedOwner has the address for as long as anybody may ask.
func impliedOwner(id aggregate.Identity, uid string) owner {
	return owner{uid: uid, rank: endpoint, id: &id, to: forever}
}

// has tells whether the table has anything of an address.
func (t *ownerTable) has(address netip.Addr) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.addresses[address] != nil
}

// known is what there is of an address, implied or not; nil for nothing. The lock is held.
func (t *ownerTable) known(address netip.Addr) *history {
	if x := t.addresses[address]; x != nil || t.index == nil {
		return x
	}
	if id, uid, ok := t.index.impliedAt(address); ok {
		return &history{owners: []owner{impliedOwner(id, uid)}}
	}
	return nil
}

// keep puts an address whose owner is implied into the table, before that changes.
func (t *ownerTable) keep(address netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.known(address); x != nil && t.addresses[address] == nil {
		t.put(address, x)
	}
}

// implied notes that addresses have got owners that are implied.
func (t *ownerTable) implied(at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since.Store(max(t.since.Load(), int64(at)))
	t.version.Add(1)
}

// becomesImplied removes an address from the table if its owner can be implied. The lock is held, and no slice changes.
func (t *ownerTable) becomesImplied(address netip.Addr, x *history, now time.Duration) {
	if len(x.owners) != 1 || x.deviceSince > 0 && x.deviceSince >= now-retention {
		return
	}
	o := &x.owners[0]
	if o.rank != endpoint || o.to != forever || o.from > 0 && o.certain >= now-retention || !t.index.imply(address, o) {
		return
	}
	delete(t.addresses, address) // the name is the same: the version stays
}
