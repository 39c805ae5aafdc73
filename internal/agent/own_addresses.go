package agent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

const (
	// ownIdle is for how long an address that NAT gives the node's own sockets is kept without traffic, and maxOwn how many are.
	ownIdle = 10 * time.Minute
	maxOwn  = 1024
)

// ownAddresses are those of the node's own sockets: the namespace's, and others that NAT puts before them, as the address of a Service
// whose endpoint is in the host network. What the node itself sends shows these.
type ownAddresses struct {
	mu      sync.Mutex
	node    map[netip.Addr]bool
	learned map[netip.Addr]time.Duration // when they were last used (CLOCK_MONOTONIC)
	ifbs    map[int]bool                 // by index
	pods    map[netip.Addr]bool          // found to be pods' since setNode
	doubt   uint64                       // segments sent under an address that was not known by then
	changed bool
}

// setNode says which addresses the namespace has, and forgets those learned that are not used any more.
func (o *ownAddresses) setNode(addresses []netip.Addr, devices []netdev.Device, now time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ifbs, o.pods = map[int]bool{}, map[netip.Addr]bool{}
	for i := range devices {
		if devices[i].Role == netdev.RoleIFB {
			o.ifbs[devices[i].Index] = true
		}
	}
	o.node = make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		o.node[a] = true
	}
	maps.DeleteFunc(o.learned, func(_ netip.Addr, used time.Duration) bool { return now-used > ownIdle })
	o.changed = true
}

// learn takes the addresses under which the node sends packets itself: their journeys begin at an egress. isPod tells of addresses
// of pods, which are none of the node's even if their packets' ingress was not seen.
func (o *ownAddresses) learn(batch []record.Record, isPod func(netip.Addr) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range batch {
		r := &batch[i]
		if r.Len == 0 || r.Kind == record.Connection || r.Hops[0].Hook != record.Egress {
			continue
		}
		from := r.First.Source.Addr()
		if o.node[from] {
			continue
		}
		if _, known := o.learned[from]; known {
			o.learned[from] = r.Time
			continue
		}
		if o.ifbs[r.Hops[0].Ifindex] || o.pods[from] { // what an ifb passes on came in elsewhere
			continue
		}
		if isPod(from) {
			o.pods[from] = true
			continue
		}
		o.doubt += uint64(max(1, r.Weight)) * uint64(max(1, r.Segments))
		if len(o.learned) >= maxOwn {
			continue
		}
		if o.learned == nil {
			o.learned = map[netip.Addr]time.Duration{}
		}
		o.learned[from] = r.Time
		o.changed = true
	}
}

// take returns all of them if they have changed since it was last called.
func (o *ownAddresses) take() (addresses []netip.Addr, changed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.changed {
		return nil, false
	}
	o.changed = false
	return slices.AppendSeq(slices.Collect(maps.Keys(o.node)), maps.Keys(o.learned)), true
}

func (o *ownAddresses) doubted() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.doubt
}

// tellOwnAddresses tells the programs, if there is news.
func (a *Agent) tellOwnAddresses() error {
	addresses, changed := a.own.take()
	if !changed {
		return nil
	}
	return a.loader.SetOwnAddresses(addresses)
}
