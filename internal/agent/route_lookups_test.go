package agent

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
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
	err = l.read(time.Now(), now, false, devices, nil)
	got := l.results(now)
	if err != nil || len(got) != len(want) || got[0].Packets != 2 || got[0].Destination.String() != "10.2.0.1" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, r := range got {
		if said, ok := want[r.Destination.String()]; !ok || r.Result != said || r.Device != "cali1" || r.Source.String() != "10.1.0.7" {
			t.Errorf("%+v, want %q", r, said)
		}
	}
	if got := l.results(now + time.Minute); len(got) != 0 {
		t.Errorf("a minute later: %v", got)
	}
}

// TestRouteLookupsBudget lists many routes once for all losses of a reading, and not again before that is due by what it took: the last
// answer stands, with the packets that were lost by now.
func TestRouteLookupsBudget(t *testing.T) {
	runtime.LockOSThread() // for good: the thread ends in this namespace
	space, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	commands := exec.Command("ip", "-batch", "-")
	var lines strings.Builder
	lines.WriteString("link set lo up\nroute add blackhole 10.2.0.0/24\n")
	for i := range 5000 {
		fmt.Fprintf(&lines, "route add 10.%d.%d.0/24 dev lo\n", 64+i/256, i%256)
	}
	commands.Stdin = strings.NewReader(lines.String())
	if out, err := commands.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var l routeLookups
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	clock, now := time.Hour, time.Unix(1000, 0)
	lose := func() {
		for i := range maxLookups {
			r := record.Record{Kind: record.Dropped, Location: "ip_error", Time: clock, Len: 1}
			r.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: 4}
			r.Last.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(i)}), 80)
			l.add([]record.Record{r})
		}
	}
	read := func(asked bool, want string) {
		t.Helper()
		before := l.spent.at
		if err := l.read(now, clock, asked, nil, nil); err != nil {
			t.Fatal(err)
		}
		got := l.results(clock)
		if len(got) != maxLookups || got[0].Route != want {
			t.Errorf("%d answers, the first %+v", len(got), got[0])
		}
		t.Logf("read: %v, in %v", l.spent.at != before, l.spent.took)
	}
	lose()
	read(false, "blackhole 10.2.0.0/24")
	one := testing.AllocsPerRun(1, func() { l.tables.Routes(netip.MustParseAddr("10.2.0.1")) })
	all := testing.AllocsPerRun(1, func() {
		now, l.spent.took = now.Add(time.Minute), 0
		if err := l.read(now, clock, false, nil, nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("one list takes %.0f allocations, a reading of %d losses %.0f", one, maxLookups, all)
	if all > 1.5*one {
		t.Errorf("a reading of %d losses takes %.0f allocations, one list %.0f", maxLookups, all, one)
	}
	if out, err := exec.Command("ip", "route", "replace", "unreachable", "10.2.0.0/24").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.spent.took = 10 * time.Millisecond
	lose()
	now = now.Add(4 * time.Second)
	if read(false, "blackhole 10.2.0.0/24"); l.results(clock)[0].Packets != 2 {
		t.Error("packets are those of the last reading")
	}
	now = now.Add(time.Second)
	read(false, "unreachable 10.2.0.0/24")
	l.spent.took = time.Second
	if out, err := exec.Command("ip", "route", "replace", "prohibit", "10.2.0.0/24").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	now = now.Add(askEvery)
	read(true, "prohibit 10.2.0.0/24")
}
