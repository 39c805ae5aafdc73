package identity

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/statefile"
)

// savedNames are what an earlier run knew, by address. They name the addresses of which nothing else is known, marked stale, until the
// API server has answered.
type savedNames []savedName

// savedName is who had an address when the earlier run ended: a pod elsewhere, a node or a Service.
type savedName struct {
	address                   [16]byte
	rank                      rank
	namespace, workload, node sharedString
	pod, service              string
	more                      *aggregate.Identity // all of it, where there is more; else nil
}

func newSavedName(e *cacheEntry) savedName {
	id := printableNames(&e.ID)
	n := savedName{
		address: e.Address.As16(), rank: e.Rank, namespace: share(id.Namespace), workload: share(id.Workload), node: share(id.Node),
		pod: id.Pod, service: id.Service,
	}
	if n.identity() != *id {
		n.more = id
	}
	return n
}

func (n *savedName) identity() aggregate.Identity {
	if n.more != nil {
		return *n.more
	}
	return aggregate.Identity{Namespace: n.namespace.String(), Pod: n.pod, Workload: n.workload.String(), Service: n.service, Node: n.node.String()}
}

func (n *savedName) compare(address [16]byte) int { return slices.Compare(n.address[:], address[:]) }

// find is who had an address. It does not allocate.
func (s savedNames) find(address netip.Addr) (id aggregate.Identity, ok bool) {
	n := s.at(address)
	if n == nil || n.rank == 0 {
		return id, false
	}
	id = n.identity()
	id.Stale = true
	return id, true
}

// forget leaves an address without a name, as the API server has said who has it.
func (s savedNames) forget(address netip.Addr) {
	if n := s.at(address); n != nil {
		n.rank = 0
	}
}

func (s savedNames) at(address netip.Addr) *savedName {
	i, ok := slices.BinarySearchFunc(s, address.As16(), func(n savedName, a [16]byte) int { return n.compare(a) })
	if !ok {
		return nil
	}
	return &s[i]
}

// sorted leaves of each address the name that counts: that of the highest rank, and none where two of that rank contradict each other.
func (s savedNames) sorted() savedNames {
	slices.SortStableFunc(s, func(a, b savedName) int {
		if c := a.compare(b.address); c != 0 {
			return c
		}
		return int(a.rank) - int(b.rank)
	})
	kept := s[:0]
	var highest rank // of the last one's address
	for _, n := range s {
		last := len(kept) - 1
		switch {
		case last < 0 || kept[last].address != n.address:
			kept, highest = append(kept, n), n.rank
		case n.rank > highest:
			kept[last], highest = n, n.rank
		case kept[last].identity() != n.identity():
			kept[last].rank = 0
		}
	}
	return slices.DeleteFunc(slices.Clip(kept), func(n savedName) bool { return n.rank == 0 })
}

// loadCache takes over what an earlier run saved, marked stale until the API server answers.
func (k *Kubernetes) loadCache() {
	if k.options.StateDir == "" {
		return
	}
	var head cacheHead
	var local []cacheEntry // this node's pods
	var saved savedNames
	take := func(e *cacheEntry) {
		if isLocal := e.Rank == pod && e.ID.Node == k.options.Node; isLocal {
			local = append(local, *e)
		} else {
			saved = append(saved, newSavedName(e))
		}
	}
	err := statefile.Each(k.cachePath(), CacheVersion, &head, "names", take)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case errors.As(err, new(*fs.PathError)):
		k.log.Warn("cannot read the names that an earlier run saved; make the file readable or give another --state-dir", "err", err)
		return
	case err != nil:
		aside, asideErr := statefile.SetAside(k.cachePath())
		k.log.Warn("cannot use the names that an earlier run saved: they are set aside", "err", errors.Join(err, asideErr), "file", aside)
		return
	case head.Node != k.options.Node:
		return
	}
	boot, err := bootID()
	if err != nil {
		k.log.Warn("the names that an earlier run saved are ignored", "err", err)
		return
	}
	changes, err := readChanges(k.changesPath(), head.Written)
	if err != nil {
		k.log.Warn("cannot read the names that an earlier run saved; make the file readable or give another --state-dir", "err", err)
	}
	isChanged := func(a netip.Addr) bool { _, changed := changes[a]; return changed }
	local = slices.DeleteFunc(local, func(e cacheEntry) bool { return isChanged(e.Address) })
	saved = slices.DeleteFunc(saved, func(n savedName) bool { return isChanged(netip.AddrFrom16(n.address).Unmap()) })
	for _, e := range changes {
		take(&e)
	}
	for _, e := range local {
		if head.Boot != boot {
			continue
		}
		e.ID.Stale = true
		k.owners.acquire(e.Address, owner{uid: e.UID, rank: pod, local: true, id: &e.ID}, true, 0)
		k.stale.Store(true)
	}
	if saved = saved.sorted(); len(saved) > 0 {
		k.owners.setSaved(saved, 0)
		k.stale.Store(true)
	}
}

// readChanges reads what has changed since a cache file was written: of each address the last. The last line may be cut off.
func readChanges(path, written string) (map[netip.Addr]cacheEntry, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read saved changes: %w", err)
	}
	defer file.Close()
	lines := json.NewDecoder(bufio.NewReader(file))
	var of cacheChanges
	if err := lines.Decode(&of); err != nil || of.Of != written || written == "" {
		return nil, nil // they are of another file
	}
	changes := map[netip.Addr]cacheEntry{}
	for {
		var e cacheEntry
		if err := lines.Decode(&e); err != nil {
			return changes, nil
		}
		changes[e.Address] = e
	}
}

// dropStale removes what was loaded from the cache and was not confirmed by the API server.
func (k *Kubernetes) dropStale() {
	type entry struct {
		address netip.Addr
		uid     string
		rank    rank
	}
	var gone []entry
	k.owners.currentLocal(func(a netip.Addr, o owner) {
		if o.id.Stale {
			gone = append(gone, entry{a, o.uid, o.rank})
		}
	})
	for _, e := range gone {
		k.owners.release(e.address, e.uid, e.rank, forever)
	}
	k.owners.setSaved(nil, k.options.Clock())
}
