package loader

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// neighbour joins another namespace to the thread's by a veth, and returns the index of this side's. do runs there.
func neighbour(t *testing.T, name string, here, there []string, do func()) int {
	t.Helper()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	home, err := netns.Get()
	fail(err)
	defer home.Close()
	away, err := netns.New()
	fail(err)
	t.Cleanup(func() { away.Close() })
	up := func(name string, addresses []string) int {
		t.Helper()
		l, err := netlink.LinkByName(name)
		fail(err)
		fail(netlink.LinkSetUp(l))
		for _, a := range addresses {
			address, err := netlink.ParseAddr(a)
			fail(err)
			address.Flags = unix.IFA_F_NODAD // usable at once
			fail(netlink.AddrAdd(l, address))
		}
		return l.Attrs().Index
	}
	fail(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: name, PeerNamespace: netlink.NsFd(home)}))
	up("eth0", there)
	do()
	fail(netns.Set(home))
	return up(name, here)
}

// TestPods loses packets behind a pod's veth that is not traced: nothing but the pod's address tells whose they are.
func TestPods(t *testing.T) {
	inNamespace(t)
	pod := neighbour(t, "cali1", []string{"10.9.0.1/24", "fd00:9::1/64"}, []string{"10.9.0.2/24", "fd00:9::2/64"}, func() {})
	// A namespace that has packets for a pod and only routes them on, as another node in this kernel.
	elsewhere := netip.MustParseAddr("10.8.0.2")
	router := neighbour(t, "router", []string{"10.7.0.1/24"}, []string{"10.7.0.2/24"}, func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		_, dst, _ := net.ParseCIDR("10.8.0.2/32")
		if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE}); err != nil {
			t.Fatal(err)
		}
	})
	_, dst, _ := net.ParseCIDR("10.8.0.2/32")
	if err := netlink.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: router, Gw: net.ParseIP("10.7.0.2")}); err != nil {
		t.Fatal(err)
	}

	l, err := New(Options{Dir: t.TempDir(), Kernel: &ofAllTests})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetDevices(nil, nil); err != nil {
		t.Fatal(err)
	}
	records := make(chan record.Record, 1000)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- l.Run(ctx, func(batch []record.Record) {
			for i := range batch {
				if batch[i].First.Protocol != unix.IPPROTO_UDP {
					continue
				}
				select {
				case records <- batch[i]:
				default:
				}
			}
		})
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	send := func(address string, port int) {
		t.Helper()
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port))))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte("to nobody")) // the refusal may come before it returns
	}
	// Until the pods are known, those are nobody's. What comes first, comes out first.
	send("10.9.0.2", 1000)
	pods := map[netip.Addr]int{netip.MustParseAddr("10.9.0.2"): pod, netip.MustParseAddr("fd00:9::2"): pod, elsewhere: router}
	if err := l.SetPods(pods); err != nil {
		t.Fatal(err)
	}
	send("10.8.0.2", 2000)
	send("10.9.0.2", 3000)
	send("fd00:9::2", 4000)
	for _, port := range []uint16{3000, 4000} {
		select {
		case r := <-records:
			if r.First.Destination.Port() != port || r.Kind != record.Dropped || !r.Attributed || r.Len != 2 ||
				r.Hops[0].Hook != record.Xmit || r.Hops[0].Ifindex != pod || r.Hops[1].Hook != record.Free {
				t.Errorf("the record is %+v, want a drop behind device %d of a packet to port %d", r, pod, port)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no drop of a packet to port %d", port)
		}
	}
	if err := l.SetPods(nil); err != nil {
		t.Fatal(err)
	}
	send("10.9.0.2", 5000)
	select {
	case r := <-records:
		t.Errorf("a drop of a pod that is gone: %+v", r)
	case <-time.After(3 * readInterval):
	}
	// More than there is room for is said, and goes by.
	many := map[netip.Addr]int{}
	for i := range 2000 {
		many[netip.AddrFrom4([4]byte{10, 7, byte(i >> 8), byte(i)})] = pod
	}
	if err := l.SetPods(many); err == nil || !strings.Contains(err.Error(), "more addresses than the 1024") {
		t.Errorf("too many pods: %v", err)
	}
	if err := l.SetPods(pods); err != nil {
		t.Errorf("fewer pods: %v", err)
	}
}
