package agent

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestRouteLookups asks a real routing table about packets that were lost for want of a route, and about no others.
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
		r := record.Record{Kind: record.Dropped, Reason: reason, Location: location, Time: at, Len: 2}
		r.Hops = [record.MaxHops]record.Hop{{Hook: record.Ingress, Ifindex: 4}, {Hook: record.Free, Ifindex: 4}}
		r.Last.Source = netip.MustParseAddrPort("10.1.0.7:1024")
		r.Last.Destination = netip.AddrPortFrom(netip.MustParseAddr(to), 80)
		return r
	}
	const now = time.Hour
	l.add([]record.Record{
		lost("10.2.0.9", "NOT_SPECIFIED", "ip_error", now-time.Minute), // long ago
		lost("10.2.0.1", "NOT_SPECIFIED", "ip_error", now), lost("10.2.0.1", "NOT_SPECIFIED", "ip_error", now),
		lost("10.2.0.2", "", "ip_error", now), lost("10.2.0.3", "", "ip_error", now),
		lost("10.2.0.4", "", "dst_discard.isra.0", now), lost("10.2.0.6", "IP_INNOROUTES", "ip_forward", now),
		lost("127.0.0.1", "", "ip_error", now),                    // has a route by now
		lost("10.2.0.5", "NETFILTER_DROP", "nf_hook_slow", now),   // another cause
		lost("10.2.0.8", record.OtherHost, "ip_rcv_core", now),    // somebody else's
		{Kind: record.Finished, Reason: "", Location: "ip_error"}, // not lost
	})
	want := map[string]string{
		"10.2.0.1": "blackhole", "10.2.0.2": "unreachable", "10.2.0.3": "prohibit", "10.2.0.4": "there is no route", "10.2.0.6": "there is no route", "127.0.0.1": "",
	}
	devices := []netdev.Device{{Index: 4, Name: "cali1"}}
	got, err := l.results(now, devices, nil)
	if err != nil || len(got) != len(want) || got[0].Packets != 2 || got[0].Destination.String() != "10.2.0.1" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, r := range got {
		if said, ok := want[r.Destination.String()]; !ok || r.Result != said || r.Device != "cali1" || r.Source.String() != "10.1.0.7" {
			t.Errorf("%+v, want %q", r, said)
		}
	}
	if got, err := l.results(now+time.Minute, devices, nil); len(got) != 0 || err != nil {
		t.Errorf("a minute later: %v, %v", got, err)
	}
}
