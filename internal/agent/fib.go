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
	// maxDiscarded bounds the destinations that the routing table is asked about.
	maxDiscarded = 8
	// discardedFor is how long after its last loss a destination is asked about: as long as a window is.
	discardedFor = 15 * time.Second
)

// fib asks the routing table about packets that were lost for want of a route, as the kernel gives blackholes no reason.
type fib struct {
	table *netlink.Handle
	mu    sync.Mutex
	lost  map[netip.Addr]time.Duration // when the last packet to it was
}

// open takes the calling thread's network namespace.
func (f *fib) open() (err error) {
	if f.table, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open the routing table: %w", err)
	}
	return nil
}

func (f *fib) close() {
	if f.table != nil {
		f.table.Close()
	}
}

// note takes from a batch what was lost so.
func (f *fib) note(batch []record.Record) {
	for i := range batch {
		r := &batch[i]
		if r.Kind != record.Dropped || !diagnose.MeansNoRoute(r.Reason, r.Location) {
			continue
		}
		f.mu.Lock()
		if f.lost == nil {
			f.lost = make(map[netip.Addr]time.Duration)
		}
		if to := r.Last.Destination.Addr(); len(f.lost) < maxDiscarded || f.lost[to] != 0 {
			f.lost[to] = r.Time
		}
		f.mu.Unlock()
	}
}

// lookups are what the table says now of what was lost lately and has no way.
func (f *fib) lookups(now time.Duration) (said []record.RouteLookup) {
	f.mu.Lock()
	var ask []netip.Addr
	for to, at := range f.lost {
		if now-at > discardedFor {
			delete(f.lost, to)
			continue
		}
		ask = append(ask, to)
	}
	f.mu.Unlock()
	slices.SortFunc(ask, netip.Addr.Compare)
	for _, to := range ask {
		if _, err := f.table.RouteGet(to.AsSlice()); err != nil {
			if verdict := verdictOf(err); verdict != "" {
				said = append(said, record.RouteLookup{Destination: to, Result: verdict})
			}
		}
	}
	return said
}

// verdictOf says by which kind of route the kernel refuses a destination (fib_props in net/ipv4/fib_semantics.c); "" for
// another trouble.
func verdictOf(err error) string {
	for errno, verdict := range map[unix.Errno]string{
		unix.EINVAL: "blackhole", unix.EHOSTUNREACH: "unreachable", unix.EACCES: "prohibit", unix.ENETUNREACH: "there is no route",
	} {
		if errors.Is(err, errno) {
			return verdict
		}
	}
	return ""
}
