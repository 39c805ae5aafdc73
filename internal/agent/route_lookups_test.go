package agent

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// TestRouteLookups asks a real routing table about packets that were lost for want of a route.
func TestRouteLookups(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread() // for good: the thread ends in this namespace
	space, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	for to, kind := range map[string]int{
		"10.2.0.1/32": unix.RTN_BLACKHOLE, "10.2.0.2/32": unix.RTN_UNREACHABLE, "10.2.0.3/32": unix.RTN_PROHIBIT, "fd00::1/128": unix.RTN_BLACKHOLE,
	} {
		_, network, err := net.ParseCIDR(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.RouteAdd(&netlink.Route{Dst: network, Type: kind}); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
	}
	var l routeLookups
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	lost := func(to, reason, location string, at time.Duration) record.Record {
		r := record.Record{Kind: record.Dropped, Reason: reason, Location: location, Time: at}
		r.Last.Destination = netip.AddrPortFrom(netip.MustParseAddr(to), 80)
		return r
	}
	const now = time.Hour
	l.add([]record.Record{
		lost("10.2.0.9", "NOT_SPECIFIED", "ip_error", now-time.Minute), // long ago
		lost("10.2.0.1", "NOT_SPECIFIED", "ip_error", now), lost("10.2.0.2", "", "ip_error", now), lost("10.2.0.3", "", "ip_error", now),
		lost("10.2.0.4", "", "dst_discard.isra.0", now), lost("fd00::1", "", "ip6_pkt_discard", now),
		lost("127.0.0.1", "", "ip_error", now),                    // has a route by now
		lost("10.2.0.5", "NETFILTER_DROP", "nf_hook_slow", now),   // another cause
		lost("10.2.0.6", "IP_INNOROUTES", "ip_forward", now),      // has a reason
		{Kind: record.Finished, Reason: "", Location: "ip_error"}, // not lost
	})
	said := func(address, verdict string) record.RouteLookup {
		return record.RouteLookup{Destination: netip.MustParseAddr(address), Result: verdict}
	}
	want := []record.RouteLookup{
		said("10.2.0.1", "blackhole"), said("10.2.0.2", "unreachable"), said("10.2.0.3", "prohibit"), said("10.2.0.4", "there is no route"), said("fd00::1", "blackhole"),
	}
	if got := l.results(now); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := l.results(now + time.Minute); len(got) != 0 {
		t.Errorf("a minute later: %v", got)
	}
}
