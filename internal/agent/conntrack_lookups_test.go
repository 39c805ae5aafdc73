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

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// TestConntrackLookups asks a real connection table where it sends what nobody answers.
func TestConntrackLookups(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread() // for good: the thread ends in this namespace
	space, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	entry := func(family netlink.InetFamily, client, service, pod string) {
		from, to, backend := netip.MustParseAddrPort(client), netip.MustParseAddrPort(service), netip.MustParseAddrPort(pod)
		tuple := func(source, destination netip.AddrPort) netlink.IPTuple {
			return netlink.IPTuple{
				SrcIP: net.IP(source.Addr().AsSlice()), DstIP: net.IP(destination.Addr().AsSlice()),
				SrcPort: source.Port(), DstPort: destination.Port(), Protocol: unix.IPPROTO_UDP,
			}
		}
		err := netlink.ConntrackCreate(netlink.ConntrackTable, family, &netlink.ConntrackFlow{
			FamilyType: uint8(family), Forward: tuple(from, to), Reverse: tuple(backend, from), TimeOut: 100,
		})
		if err != nil {
			t.Fatalf("%s: %v", service, err)
		}
	}
	entry(unix.AF_INET, "10.1.0.1:40000", "10.96.0.10:53", "10.2.0.9:5353")
	entry(unix.AF_INET6, "[fd00::1]:40000", "[fd96::10]:53", "[fd00:2::9]:5353")

	var l conntrackLookups
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	silent := func(from, asked, to string) aggregate.Unanswered {
		source := netip.MustParseAddrPort(from)
		return aggregate.Unanswered{
			Protocol: record.ProtocolUDP, Client: true, Source: netip.AddrPortFrom(source.Addr(), 0), SourcePort: source.Port(),
			Asked: netip.MustParseAddrPort(asked), Destination: netip.MustParseAddrPort(to),
		}
	}
	got := l.results([]aggregate.Unanswered{
		silent("10.1.0.1:40001", "10.96.0.10:53", "10.2.0.9:5353"), // the table has none
		silent("10.1.0.1:40000", "10.2.0.9:5353", "10.2.0.9:5353"), // not translated
		silent("10.1.0.1:40000", "10.96.0.10:53", "10.2.0.9:5353"),
		silent("[fd00::1]:40000", "[fd96::10]:53", "[fd00:2::9]:5353"),
	})
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []string{"10.2.0.9:5353", "[fd00:2::9]:5353"} {
		if e := got[i]; e.Translated != netip.MustParseAddrPort(want) || e.Timeout < 90*time.Second || e.Timeout > 100*time.Second || e.Assured {
			t.Errorf("%+v", e)
		}
	}
}

func TestParseConntrackEntry(t *testing.T) {
	t.Parallel()
	flow := record.ConntrackFlow{Protocol: record.ProtocolUDP}
	e, err := parseConntrackEntry(flow, []byte{
		unix.AF_INET, 0, 0, 0, // nfgenmsg
		8, 0, ctStatus, 0, 0, 0, 0, 0x8e, // seen reply, assured, confirmed, DNAT
		8, 0, ctTimeout, 0, 0, 0, 0, 119,
	})
	if err != nil || !e.Assured || e.Timeout != 119*time.Second || e.Translated.IsValid() {
		t.Errorf("%+v, %v", e, err)
	}
	for _, bad := range [][]byte{{}, {unix.AF_INET, 0, 0}} {
		if e, err := parseConntrackEntry(flow, bad); err == nil {
			t.Errorf("%v was taken: %+v", bad, e)
		}
	}
}
