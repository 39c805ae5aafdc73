package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/record"
)

const (
	// maxLookups bounds the destinations that the routing table is asked about.
	maxLookups = 8
	// lookupFor is how long after its last drop a destination is asked about: as long as a window is.
	lookupFor = 15 * time.Second
)

// routeLookups ask the routing table about packets that were dropped for want of a route: of a blackhole the kernel gives
// no reason.
type routeLookups struct {
	table   *netlink.Handle
	mu      sync.Mutex
	dropped map[netip.Addr]time.Duration // by destination, when the last packet to it was dropped
}

// open opens the routing table of the calling thread's network namespace.
func (l *routeLookups) open() (err error) {
	if l.table, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open rtnetlink socket: %w", err)
	}
	return nil
}

func (l *routeLookups) close() {
	if l.table != nil {
		l.table.Close()
	}
}

// add takes from a batch what was dropped so.
func (l *routeLookups) add(batch []record.Record) {
	for i := range batch {
		r := &batch[i]
		if r.Kind != record.Dropped || !diagnose.MeansNoRoute(r.Reason, r.Location) {
			continue
		}
		l.mu.Lock()
		if l.dropped == nil {
			l.dropped = make(map[netip.Addr]time.Duration)
		}
		if to := r.Last.Destination.Addr(); len(l.dropped) < maxLookups || l.dropped[to] != 0 {
			l.dropped[to] = r.Time
		}
		l.mu.Unlock()
	}
}

// results are what the table says now of what was dropped lately and still has no route.
func (l *routeLookups) results(now time.Duration) (found []record.RouteLookup) {
	l.mu.Lock()
	var ask []netip.Addr
	for to, at := range l.dropped {
		if now-at > lookupFor {
			delete(l.dropped, to)
			continue
		}
		ask = append(ask, to)
	}
	l.mu.Unlock()
	slices.SortFunc(ask, netip.Addr.Compare)
	for _, to := range ask {
		if _, err := l.table.RouteGet(to.AsSlice()); err != nil {
			if result := resultOf(err); result != "" {
				found = append(found, record.RouteLookup{Destination: to, Result: result})
			}
		}
	}
	return found
}

// resultOf says by which kind of route the kernel refuses a destination (fib_props in net/ipv4/fib_semantics.c); "" for
// another error.
func resultOf(err error) string {
	for errno, result := range map[unix.Errno]string{
		unix.EINVAL: "blackhole", unix.EHOSTUNREACH: "unreachable", unix.EACCES: "prohibit", unix.ENETUNREACH: "there is no route",
	} {
		if errors.Is(err, errno) {
			return result
		}
	}
	return ""
}
