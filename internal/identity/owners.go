package identity

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tracer/internal/aggregate"
)

const (
	forever = time.Duration(math.MaxInt64)
	// retention is how long a former owner is known: longer than a packet waits in a queue.
	retention = 10 * time.Minute
	// maxOwners bounds the owners known of one address; the one whose time ended first is evicted.
	maxOwners = 4
	// maxUnowned bounds the addresses of which no owner is known: a pod may send from as many as it likes.
	maxUnowned = 4096
)

// rank says which source counts more where several name one address.
type rank uint8

const (
	service  rank = iota + 1 // a Service's virtual address
	endpoint                 // what an EndpointSlice says of a pod elsewhere
	host                     // a node's own address
	pod                      // the pod itself
)

// owner is a pod, Service or node that has, or had, an address. All times are CLOCK_MONOTONIC.
type owner struct {
	uid     string
	rank    rank
	local   bool // a pod of this node
	id      *aggregate.Identity
	from    time.Duration // the earliest time at which it may have had the address
	certain time.Duration // when it certainly had it
	to      time.Duration // when it lost it; forever if it has it still
	seen    time.Duration // when it became known
}

func (o *owner) covers(at time.Duration) bool { return o.from <= at && at < o.to }

// ownerTable says who owned which address when. Look-ups neither block for long nor allocate, but for the first of an implied
// owner: what a map entry points to is replaced and never changed.
type ownerTable struct {
	mu        sync.RWMutex
	addresses map[netip.Addr]*history
	unowned   int                     // how many of them have no owner
	version   atomic.Uint64           // grows with every change of an address that has an owner before or after it
	since     atomic.Int64            // the latest time at which any address changed its owner
	index     *endpointIndex          // has the owners that are implied; nil for none
	services  map[uint32]*serviceInfo // those that are implied owners, by the hash of the address
	asked     int                     // how many addresses are in the table, at most, because somebody asked for their implied owners
	saved     savedNames              // what an earlier run knew of the addresses of which nothing else is known
	local     map[netip.Addr]bool     // the addresses of which a pod of this node is or was an owner
	changed   map[netip.Addr]bool     // the addresses that changed since takeChanges; nil if nobody notes them
}

// setSaved puts other names in the place of those that an earlier run saved.
func (t *ownerTable) setSaved(saved savedNames, at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.saved) == 0 && len(saved) == 0 {
		return
	}
	t.saved = saved
	t.renamed(at)
}

// renamed notes that many addresses may have got other names. The lock is held.
func (t *ownerTable) renamed(at time.Duration) {
	t.since.Store(max(t.since.Load(), int64(at)))
	t.version.Add(1)
}

// history is the owners of one address, in the order in which they became known.
type history struct {
	owners []owner
	// deviceSince is when the device that leads to the address changed last: no earlier pod owns the address from then on.
	deviceSince time.Duration
}

// owned tells whether anybody is known to have, or have had, the address.
func (x *history) owned() bool { return x != nil && len(x.owners) > 0 }

// at returns who owned the address then; named is false if nobody did, or it is not certain who. owned tells whether it has, or had, an
// owner at any time.
func (t *ownerTable) at(address netip.Addr, at time.Duration) (id aggregate.Identity, named, owned bool) {
	t.mu.RLock()
	x := t.addresses[address]
	implied := false
	if x == nil && t.index != nil {
		// With the lock held: owners cease to be implied by getting into the table.
		if s := t.serviceAt(address); s != nil {
			id, named = s.identity(), true
		} else if id, _, implied = t.index.impliedAt(address); implied {
			named = true
		}
	}
	if !named && !x.owned() {
		id, named = t.saved.find(address)
	}
	t.mu.RUnlock()
	if implied {
		t.wasAsked(address)
	}
	switch {
	case named:
		return id, true, true
	case !x.owned():
		return id, false, false
	case len(x.owners) > 1:
		if best := resolve(x.owners, at); best != nil {
			return *best, true, true
		}
	case x.owners[0].covers(at):
		return *x.owners[0].id, true, true
	}
	return id, false, true
}

// resolve decides between several owners. The highest rank wins. Of two with the same rank whose times overlap, the end of
// the first was noticed late: the second owns the address as soon as that is certain. While neither has ended the answer is
// nil, since a wrong name is worse than none. Owners with equal identities do not contradict each other.
func resolve(list []owner, at time.Duration) *aggregate.Identity {
	var best *owner
	others, open := 0, 0 // owners of the same rank that contradict best; how many of them have not ended
	for i := range list {
		o := &list[i]
		if !o.covers(at) || best != nil && o.rank < best.rank {
			continue
		}
		switch {
		case best == nil || o.rank > best.rank:
			best, others, open = o, 0, 0
		case *o.id == *best.id:
			if o.to > best.to {
				best = o
			}
		case o.certain > best.certain:
			others++
			if best.to == forever {
				open++
			}
			best = o
		default:
			others++
			if o.to == forever {
				open++
			}
		}
	}
	if best == nil || others > 0 && (open > 0 || at < best.certain) {
		return nil
	}
	return best.id
}

// put stores the history of an address and moves since; the lock is held. Callers of Version read the version before
// since, so that a new version never goes with an old since.
func (t *ownerTable) put(address netip.Addr, x *history) {
	since := time.Duration(t.since.Load())
	for i := range x.owners {
		o := &x.owners[i]
		since = max(since, o.from, o.certain)
		if o.to != forever {
			since = max(since, o.to)
		}
	}
	t.since.Store(int64(since))
	if x.owned() {
		t.saved.forget(address)
	}
	if x.owned() || t.addresses[address].owned() {
		t.noteChange(address)
	}
	t.replace(address, x)
}

func (t *ownerTable) insert(address netip.Addr, x *history) {
	if t.addresses == nil {
		t.addresses, t.local = map[netip.Addr]*history{}, map[netip.Addr]bool{}
	}
	t.addresses[address] = x
}

// remove deletes an address; the lock is held.
func (t *ownerTable) remove(address netip.Addr) {
	if t.addresses[address].owned() {
		t.noteChange(address)
	}
	t.replace(address, nil)
}

// replace puts another history, or none, in the place of the one that an address has. The version stays if there is no
// owner before and after: else a pod that sends from many addresses would make every flow look its names up again.
func (t *ownerTable) replace(address netip.Addr, x *history) {
	old := t.addresses[address]
	if old != nil && !old.owned() {
		t.unowned--
	}
	if x != nil && !x.owned() {
		t.unowned++
	}
	if s := t.serviceAt(address); s != nil {
		delete(t.services, t.index.hash(address)) // it is in the history
	}
	if x == nil {
		delete(t.addresses, address)
	} else {
		t.insert(address, x)
	}
	if x != nil && slices.ContainsFunc(x.owners, func(o owner) bool { return o.local }) {
		t.local[address] = true
	} else {
		delete(t.local, address)
	}
	if old.owned() || x.owned() {
		t.version.Add(1)
	}
}

// acquire notes that o owns the address now. conflicts counts the other owners of the same rank that have not ended. Unless
// it is proven when o began, it began no earlier than the owner before it ended.
func (t *ownerTable) acquire(address netip.Addr, o owner, proven bool, now time.Duration) (conflicts int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o.to, o.seen, o.id = forever, now, printableNames(o.id)
	x := &history{}
	var list []owner
	if old := t.known(address); old != nil {
		if x.deviceSince = old.deviceSince; o.local {
			o.from = max(o.from, x.deviceSince)
		}
		for _, p := range old.owners {
			same := p.uid == o.uid && p.rank == o.rank
			switch {
			case same && p.to == forever:
				o.from, o.certain, o.seen = min(o.from, p.from), min(o.certain, p.certain), p.seen
				continue
			case same && o.local:
				if !(proven && o.from+time.Second >= x.deviceSince) {
					return 0 // it lost the address, and nothing shows that it has it again
				}
				continue
			case p.to < now-retention:
				continue
			case p.rank == o.rank && p.id.Stale && !o.id.Stale:
				continue // what an earlier run cached gives way to what the API server says
			case p.rank == o.rank && p.to == forever:
				conflicts++
			case p.rank == o.rank && !proven && p.to <= now:
				o.from = max(o.from, p.to)
			}
			list = append(list, p)
		}
	}
	if len(list) >= maxOwners {
		slices.SortStableFunc(list, func(a, b owner) int { return int(min(max(b.to-a.to, -1), 1)) })
		list = list[:maxOwners-1]
	}
	o.certain = max(o.certain, o.from)
	x.owners = append(list, o)
	t.put(address, x)
	return conflicts
}

// deviceChanged notes that the device that leads to the address is gone, or another one is there. The pod that owned the
// address before owns it no longer, even if the API server has not said so yet. Of addresses without an owner no more than
// maxUnowned are kept: a pod that takes one of the others may be named for some seconds before it had it.
func (t *ownerTable) deviceChanged(address netip.Addr, at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.known(address)
	if old == nil {
		if t.unowned < maxUnowned {
			t.put(address, &history{deviceSince: at})
		}
		return
	}
	if old.deviceSince >= at {
		return
	}
	x := &history{owners: slices.Clone(old.owners), deviceSince: at}
	for i := range x.owners {
		if o := &x.owners[i]; o.local && o.seen < at {
			o.to = min(o.to, at)
		} else if o.local {
			o.from = max(o.from, at)
		}
	}
	t.put(address, x)
}

// release notes that an owner lost the address at end; forever removes it as if it had never owned it.
func (t *ownerTable) release(address netip.Addr, uid string, of rank, end time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.known(address)
	if old == nil {
		return
	}
	list := make([]owner, 0, len(old.owners))
	for _, o := range old.owners {
		if o.uid == uid && o.rank == of {
			if end == forever {
				continue
			}
			o.to = min(o.to, end)
		}
		list = append(list, o)
	}
	if len(list) == 0 && (old.deviceSince == 0 || t.unowned >= maxUnowned) {
		t.remove(address)
		return
	}
	t.put(address, &history{owners: list, deviceSince: old.deviceSince})
}

// expireAtOnce is of how many addresses expire looks before it lets others at the table.
const expireAtOnce = 256

// expire removes owners that ended longer than retention ago.
func (t *ownerTable) expire(now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	expired := func(o owner) bool { return o.to < now-retention }
	imply := t.mayImply()
	seen := 0
	if imply {
		t.asked = 0
	}
	for address, x := range t.addresses { // what changes meanwhile comes, or comes not: the next time it does
		if seen++; seen%expireAtOnce == 0 {
			if imply {
				t.index.changing.Unlock()
			}
			t.mu.Unlock()
			t.mu.Lock()
			if imply = t.mayImply(); t.addresses[address] != x {
				continue
			}
		}
		if len(x.owners) > 0 && !slices.ContainsFunc(x.owners, expired) {
			if imply {
				t.becomesImplied(address, x, now)
			}
			continue
		}
		// What is saved, who has it now, stays the same.
		if list := slices.DeleteFunc(slices.Clone(x.owners), expired); len(list) > 0 {
			t.replace(address, &history{owners: list, deviceSince: x.deviceSince})
		} else if x.deviceSince < now-retention {
			t.replace(address, nil)
		}
	}
	if imply {
		t.index.changing.Unlock()
	}
}

// mayImply tells whether owners may become implied, until index.changing is unlocked. The lock is held.
func (t *ownerTable) mayImply() bool { return t.index != nil && t.index.changing.TryLock() }

// currentLocal calls yield for every address of this node's pods, and each that owns it now.
func (t *ownerTable) currentLocal(yield func(netip.Addr, owner)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for address := range t.local {
		for _, o := range t.addresses[address].owners {
			if o.to == forever && o.local {
				yield(address, o)
			}
		}
	}
}

// list are the addresses in the table, with those whose implied owners are Services.
func (t *ownerTable) list() []netip.Addr {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := slices.Collect(maps.Keys(t.addresses))
	for hash, s := range t.services {
		for _, a := range s.ips {
			if t.index.hash(a) == hash {
				all = append(all, a)
			}
		}
	}
	return all
}
