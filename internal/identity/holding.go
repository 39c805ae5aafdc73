package identity

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tracer/internal/aggregate"
)

const (
	forever = time.Duration(math.MaxInt64)
	// remembered is how long it is known who had an address before: longer than a packet waits in a queue.
	remembered = 10 * time.Minute
	// maxHolders bounds those known of one address; the one gone first is forgotten first.
	maxHolders = 4
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
	uid  string
	rank rank
	id   *aggregate.Identity
	from time.Duration // not before that
	sure time.Duration // from then on certainly
	to   time.Duration // forever, as long as the address is held
}

func (h *holder) covers(at time.Duration) bool { return h.from <= at && at < h.to }

// holdings say who held which address when. Look-ups neither block for long nor allocate: what a map entry points to is
// replaced and never changed.
type holdings struct {
	mu        sync.RWMutex
	addresses map[netip.Addr]*[]holder
}

// at is who held the address then. claimed tells, where it is nobody, that the address is or was somebody's.
func (s *holdings) at(address netip.Addr, at time.Duration) (id *aggregate.Identity, claimed bool) {
	s.mu.RLock()
	list := s.addresses[address]
	s.mu.RUnlock()
	if list == nil {
		return nil, false
	}
	if len(*list) == 1 {
		if h := &(*list)[0]; h.covers(at) {
			return h.id, true
		}
		return nil, true
	}
	return settle(*list, at), true
}

// settle decides between several holders. Of two equal ones whose times overlap the first one's end was noticed late;
// then the second has it as soon as that is certain. While neither has ended, nobody is named: an address is never
// given to the wrong one.
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

// claim notes that somebody has the address. rivals are those who have it too, of the same rank and not ended. A holder
// without proof of an earlier beginning has it from the end of the one before.
func (s *holdings) claim(address netip.Addr, h holder, proven bool, now time.Duration) (rivals int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.to = forever
	if s.addresses == nil {
		s.addresses = map[netip.Addr]*[]holder{}
	}
	var list []holder
	if old := s.addresses[address]; old != nil {
		for _, o := range *old {
			switch {
			case o.uid == h.uid && o.rank == h.rank:
				if o.to == forever {
					h.from, h.sure = min(h.from, o.from), min(h.sure, o.sure)
				}
				continue
			case o.to < now-remembered:
				continue
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
	list = append(list, h)
	s.addresses[address] = &list
	return rivals
}

// release notes that somebody has the address no longer. end is when, forever to forget that he ever had it.
func (s *holdings) release(address netip.Addr, uid string, of rank, end time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.addresses[address]
	if old == nil {
		return
	}
	list := make([]holder, 0, len(*old))
	for _, o := range *old {
		if o.uid == uid && o.rank == of {
			if end == forever {
				continue
			}
			o.to = min(o.to, end)
		}
		list = append(list, o)
	}
	if len(list) == 0 {
		delete(s.addresses, address)
		return
	}
	s.addresses[address] = &list
}

// forget drops those who ended so long ago that no packet asks for them.
func (s *holdings) forget(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := func(h holder) bool { return h.to < now-remembered }
	for address, list := range s.addresses {
		if !slices.ContainsFunc(*list, old) {
			continue
		}
		if kept := slices.DeleteFunc(slices.Clone(*list), old); len(kept) > 0 {
			s.addresses[address] = &kept
		} else {
			delete(s.addresses, address)
		}
	}
}

// held calls yield for all that is held now.
func (s *holdings) held(yield func(netip.Addr, holder)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for address, list := range s.addresses {
		for _, h := range *list {
			if h.to == forever {
				yield(address, h)
			}
		}
	}
}
