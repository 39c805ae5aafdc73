package identity

import (
	"net/netip"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// Of nearly all pods of a large cluster there is no more to tell than that they are an endpoint of one Service, and have had their address
// for as long as anybody may ask. That is in the EndpointSlice, and takes no place in the table of owners: such an owner is implied.
// Whoever changes what is known of its address puts it into the table first. The same goes for Services and their addresses.

// mayImply tells whether that holds of endpoint i of a slice, which is new: it is there when the agent starts, alone with its address.
func (k *Kubernetes) mayImply(s *sliceInfo, i int) bool {
	a := s.pods.address(i)
	if k.slices.synced.Load() || k.isNode(a) || k.endpointIndex.has(a) || k.owners.has(a) {
		return false
	}
	first := i
	s.pods.each(a, func(j int) bool { first = j; return false })
	return first == i && printable(s.identity(s.pods.at(i)))
}

// has tells whether any slice has an address.
func (x *endpointIndex) has(address netip.Addr) bool {
	for range x.with(address) {
		return true
	}
	return false
}

func printable(id aggregate.Identity) bool {
	for _, name := range []string{id.Namespace, id.Pod, id.Workload, id.Service, id.Node} {
		if record.Printable(name) != name {
			return false
		}
	}
	return true
}

// identity is who an endpoint of this slice, and of no other, is.
func (s *sliceInfo) identity(e podEndpoint) aggregate.Identity {
	return aggregate.Identity{Namespace: s.namespace.String(), Pod: e.pod, Workload: s.service(), Node: e.node.String()}
}

// impliedAt is who owns an address if that is implied. It makes the pod's name.
func (x *endpointIndex) impliedAt(address netip.Addr) (id aggregate.Identity, e podEndpoint, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for s := range x.with(address) {
		s.pods.each(address, func(i int) bool {
			if s.pods.implied(i) {
				e, ok = s.pods.at(i), true
				id = s.identity(e)
			}
			return !ok
		})
		if ok {
			break
		}
	}
	return id, e, ok
}

// imply has an owner be implied of whom the slices say all that is known. It tells whether they do.
func (x *endpointIndex) imply(address netip.Addr, o *owner) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	var only *sliceInfo
	at, all := 0, 0
	for s := range x.with(address) {
		only = s
		s.pods.each(address, func(i int) bool { at, all = i, all+1; return true })
		if slices.Contains(s.others, address) {
			all++
		}
	}
	if all != 1 || only.pods.len() == 0 {
		return false
	}
	e := only.pods.at(at)
	if e.address != address || e.uid.String() != o.uid || only.identity(e) != *o.id {
		return false
	}
	only.pods.imply(at)
	return true
}

// implied calls yield for each address whose owner is implied, and who that is. Slices may change meanwhile: no lock is held for long.
func (x *endpointIndex) implied(yield func(netip.Addr, owner)) {
	x.mu.RLock()
	all := slices.Clone(x.slices)
	x.mu.RUnlock()
	for _, s := range all {
		if s == nil {
			continue
		}
		x.mu.RLock()
		var list []podEndpoint
		for i := range s.pods.len() {
			if s.pods.implied(i) {
				list = append(list, s.pods.at(i))
			}
		}
		x.mu.RUnlock()
		for _, e := range list {
			yield(e.address, impliedOwner(s.identity(e), e))
		}
	}
}

// impliedOwner has the address for as long as anybody may ask.
func impliedOwner(id aggregate.Identity, e podEndpoint) owner {
	return owner{uid: e.uid.String(), rank: endpoint, id: &id, to: forever}
}

// has tells whether the table has anything of an address.
func (t *ownerTable) has(address netip.Addr) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.addresses[address] != nil || t.serviceAt(address) != nil
}

// known is what there is of an address, implied or not; nil for nothing. The lock is held.
func (t *ownerTable) known(address netip.Addr) *history {
	if x := t.addresses[address]; x != nil || t.index == nil {
		return x
	}
	if s := t.serviceAt(address); s != nil {
		id := s.identity()
		return &history{owners: []owner{{uid: s.uid.String(), rank: service, id: &id, to: forever}}}
	}
	if id, e, ok := t.index.impliedAt(address); ok {
		return &history{owners: []owner{impliedOwner(id, e)}}
	}
	return nil
}

// maxAsked bounds the addresses that get into the table because somebody asked: a pod may send to as many as it likes.
const maxAsked = 4096

// wasAsked puts an address whose owner is implied into the table, so that the next who asks need not have the pod's name made again. It is
// there until expire finds that it is still implied: the version stays.
func (t *ownerTable) wasAsked(address netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked >= maxAsked || t.addresses[address] != nil {
		return
	}
	if x := t.known(address); x != nil {
		t.asked++
		t.insert(address, x)
	}
}

// implyService has a Service be the implied owner of one of its addresses, if nothing else is known of that. It tells whether it is.
func (t *ownerTable) implyService(address netip.Addr, s *serviceInfo, at time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	hash := t.index.hash(address)
	if t.services[hash] != nil || t.known(address) != nil || !printable(s.identity()) {
		return false
	}
	if t.services == nil {
		t.services = map[uint32]*serviceInfo{}
	}
	t.services[hash] = s
	t.renamed(at)
	return true
}

// serviceAt is the Service that is the implied owner of an address; nil for none. The lock is held.
func (t *ownerTable) serviceAt(address netip.Addr) *serviceInfo {
	if len(t.services) == 0 {
		return nil
	}
	if s := t.services[t.index.hash(address)]; s != nil && slices.Contains(s.ips, address) {
		return s
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
	t.renamed(at)
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
