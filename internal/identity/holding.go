package identity

import (
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
	// remembered is how long it is known who had an address before: longer than a packet waits in a queue.
	remembered = 10 * time.Minute
	// maxHolders bounds those known of one address; the one gone first is forgotten first.
	maxHolders = 4
	// maxNobodys bounds the addresses of which no holder is known: a pod may send from as many as it likes.
	maxNobodys = 4096
)

// rank says whose word counts more where several name one address.
type rank uint8

const (
	service  rank = iota + 1 // a Service's virtual address
	endpoint                 // what an EndpointSlice says of a pod elsewhere
	host                     // a node's own address
	pod                      // the pod itself
)

// holder is somebody who has, or had, an address. All times are CLOCK_MONOTONIC.
type holder struct {
	uid   string
	rank  rank
	local bool // a pod of this node
	id    *aggregate.Identity
	from  time.Duration // not before that
	sure  time.Duration // from then on certainly
	to    time.Duration // forever, as long as the address is held
	seen  time.Duration // when we were told first
}

func (h *holder) covers(at time.Duration) bool { return h.from <= at && at < h.to }

// holdings say who held which address when. Look-ups neither block for long nor allocate: what a map entry points to is
// replaced and never changed.
type holdings struct {
	mu        sync.RWMutex
	addresses map[netip.Addr]*holding
	nobodys   int           // how many of them have no holder
	version   atomic.Uint64 // how often anything was put that names somebody, or did
	since     atomic.Int64  // the latest time at which an address changes hands, of all that were ever put
}

// holding is who had an address, in the order in which we were told.
type holding struct {
	holders []holder
	fresh   time.Duration // when the device behind which it is changed last: no earlier pod has it from then on
}

// named tells whether anybody is known to have, or have had, the address.
func (x *holding) named() bool { return x != nil && len(x.holders) > 0 }

// at is who held the address then. claimed tells, where it is nobody, that the address is or was somebody's.
func (s *holdings) at(address netip.Addr, at time.Duration) (id *aggregate.Identity, claimed bool) {
	s.mu.RLock()
	x := s.addresses[address]
	s.mu.RUnlock()
	if !x.named() {
		return nil, false
	}
	if len(x.holders) == 1 {
		if h := &x.holders[0]; h.covers(at) {
			return h.id, true
		}
		return nil, true
	}
	return settle(x.holders, at), true
}

// settle decides between several holders. Of two equal ones whose times overlap the first one's end was noticed late;
// then the second has it as soon as that is certain. While neither has ended, nobody is named: an address is never
// given to the wrong one. Those that say the same do not contradict each other.
func settle(list []holder, at time.Duration) *aggregate.Identity {
	var best *holder
	others, open := 0, 0
	for i := range list {
		h := &list[i]
		if !h.covers(at) || best != nil && h.rank < best.rank {
			continue
		}
		switch {
		case best == nil || h.rank > best.rank:
			best, others, open = h, 0, 0
		case *h.id == *best.id:
			if h.to > best.to {
				best = h
			}
		case h.sure > best.sure:
			others++
			if best.to == forever {
				open++
			}
			best = h
		default:
			others++
			if h.to == forever {
				open++
			}
		}
	}
	if best == nil || others > 0 && (open > 0 || at < best.sure) {
		return nil
	}
	return best.id
}

// put notes who had an address; the lock is held. Who asks for the version reads it before the time, so that it never
// goes with an earlier one.
func (s *holdings) put(address netip.Addr, x *holding) {
	if s.addresses == nil {
		s.addresses = map[netip.Addr]*holding{}
	}
	since := time.Duration(s.since.Load())
	for i := range x.holders {
		h := &x.holders[i]
		since = max(since, h.from, h.sure)
		if h.to != forever {
			since = max(since, h.to)
		}
	}
	s.since.Store(int64(since))
	s.replace(address, x)
}

// drop forgets an address; the lock is held.
func (s *holdings) drop(address netip.Addr) { s.replace(address, nil) }

// replace puts another holding, or nil for none, in the place of an address's. The version stays where nobody was named
// before nor is after: else a pod that sends from many addresses would have all flows look their names up again.
func (s *holdings) replace(address netip.Addr, x *holding) {
	old := s.addresses[address]
	if old != nil && !old.named() {
		s.nobodys--
	}
	if x != nil && !x.named() {
		s.nobodys++
	}
	if x == nil {
		delete(s.addresses, address)
	} else {
		s.addresses[address] = x
	}
	if old.named() || x.named() {
		s.version.Add(1)
	}
}

// claim notes that somebody has the address. rivals are those who have it too, of the same rank and not ended. A holder
// without proof of an earlier beginning has it from the end of the one before.
func (s *holdings) claim(address netip.Addr, h holder, proven bool, now time.Duration) (rivals int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.to, h.seen = forever, now
	x := &holding{}
	var list []holder
	if old := s.addresses[address]; old != nil {
		if x.fresh = old.fresh; h.local {
			h.from = max(h.from, x.fresh)
		}
		for _, o := range old.holders {
			switch {
			case o.uid == h.uid && o.rank == h.rank && o.to == forever:
				h.from, h.sure, h.seen = min(h.from, o.from), min(h.sure, o.sure), o.seen
				continue
			case o.uid == h.uid && o.rank == h.rank && h.local:
				if !(proven && h.from+time.Second >= x.fresh) {
					return 0 // he lost it, and nothing shows that he has it again
				}
				continue
			case o.to < now-remembered:
				continue
			case o.rank == h.rank && o.id.Stale && !h.id.Stale:
				continue // what an earlier run knew gives way to what is so
			case o.rank == h.rank && o.to == forever:
				rivals++
			case o.rank == h.rank && !proven && o.to <= now:
				h.from = max(h.from, o.to)
			}
			list = append(list, o)
		}
	}
	if len(list) >= maxHolders {
		slices.SortStableFunc(list, func(a, b holder) int { return int(min(max(b.to-a.to, -1), 1)) })
		list = list[:maxHolders-1]
	}
	h.sure = max(h.sure, h.from)
	x.holders = append(list, h)
	s.put(address, x)
	return rivals
}

// changed notes that the device behind which the address was is gone, or another one is there. Whoever was known to have
// it before has it no longer, even if nobody has said yet that he is gone. Of addresses that nobody is known to have,
// maxNobodys are noted and no more: a pod that takes one of the others may be named some seconds before it had it.
func (s *holdings) changed(address netip.Addr, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.addresses[address]
	if old == nil {
		if s.nobodys < maxNobodys {
			s.put(address, &holding{fresh: at})
		}
		return
	}
	if old.fresh >= at {
		return
	}
	x := &holding{holders: slices.Clone(old.holders), fresh: at}
	for i := range x.holders {
		if h := &x.holders[i]; h.local && h.seen < at {
			h.to = min(h.to, at)
		} else if h.local {
			h.from = max(h.from, at)
		}
	}
	s.put(address, x)
}

// release notes that somebody has the address no longer. end is when, forever to forget that he ever had it.
func (s *holdings) release(address netip.Addr, uid string, of rank, end time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.addresses[address]
	if old == nil {
		return
	}
	list := make([]holder, 0, len(old.holders))
	for _, o := range old.holders {
		if o.uid == uid && o.rank == of {
			if end == forever {
				continue
			}
			o.to = min(o.to, end)
		}
		list = append(list, o)
	}
	if len(list) == 0 && (old.fresh == 0 || s.nobodys >= maxNobodys) {
		s.drop(address)
		return
	}
	s.put(address, &holding{holders: list, fresh: old.fresh})
}

// forget drops those who ended so long ago that no packet asks for them.
func (s *holdings) forget(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := func(h holder) bool { return h.to < now-remembered }
	for address, x := range s.addresses {
		if len(x.holders) > 0 && !slices.ContainsFunc(x.holders, old) {
			continue
		}
		if kept := slices.DeleteFunc(slices.Clone(x.holders), old); len(kept) > 0 {
			s.put(address, &holding{holders: kept, fresh: x.fresh})
		} else if x.fresh < now-remembered {
			s.drop(address)
		}
	}
}

// held calls yield for all that is held now.
func (s *holdings) held(yield func(netip.Addr, holder)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for address, x := range s.addresses {
		for _, h := range x.holders {
			if h.to == forever {
				yield(address, h)
			}
		}
	}
}
