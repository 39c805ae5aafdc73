package agent

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// newConntrack asks a connection table of its own, which knows of two clients of a Service.
func newConntrack(t *testing.T) *conntrackLookups {
	t.Helper()
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
	l := &conntrackLookups{}
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// TestConntrackLookups asks a real connection table where it sends what nobody answers.
func TestConntrackLookups(t *testing.T) {
	t.Parallel()
	l := newConntrack(t)
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

// TestConntrackReply asks by where answers come from and go to.
func TestConntrackReply(t *testing.T) {
	t.Parallel()
	l := newConntrack(t)
	for _, ends := range [][2]string{{"10.2.0.9:5353", "10.1.0.1:40000"}, {"[fd00:2::9]:5353", "[fd00::1]:40000"}} {
		from, to := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
		e, err := l.ask(nl.CTA_TUPLE_REPLY, record.ProtocolUDP, from, to)
		if err != nil || e.Source != to || e.Destination.Port() != 53 || e.Translated != from || e.Replied {
			t.Errorf("answers from %v: %+v, %v; want the entry of what %v sends to port 53, without a reply", from, e, err, to)
		}
	}
	_, err := l.ask(nl.CTA_TUPLE_REPLY, record.ProtocolTCP, netip.MustParseAddrPort("10.2.0.9:5353"), netip.MustParseAddrPort("10.1.0.1:40000"))
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("of another protocol: %v", err)
	}
}

func TestParseConntrackEntry(t *testing.T) {
	t.Parallel()
	e, err := parseConntrackEntry(record.ProtocolUDP, []byte{
		unix.AF_INET, 0, 0, 0, // nfgenmsg
		8, 0, ctStatus, 0, 0, 0, 0, 0x8e, // seen reply, assured, confirmed, DNAT
		8, 0, ctTimeout, 0, 0, 0, 0, 119,
	})
	if err != nil || !e.Assured || !e.Replied || e.Timeout != 119*time.Second || e.Translated.IsValid() {
		t.Errorf("%+v, %v", e, err)
	}
	for _, bad := range [][]byte{{}, {unix.AF_INET, 0, 0}} {
		if e, err := parseConntrackEntry(record.ProtocolUDP, bad); err == nil {
			t.Errorf("%v was taken: %+v", bad, e)
		}
	}
}
