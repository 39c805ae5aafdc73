package loader

import (
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

func TestParseBacklog(t *testing.T) {
	t.Parallel()
	if b, ok := parseBacklog(1<<31 | 3<<15 | 4096); !ok || b != (record.AcceptQueue{Length: 3, Limit: 4096}) {
		t.Errorf("%+v, %v", b, ok)
	}
	// One more than 65,535 that may wait.
	if b, ok := parseBacklog(0xffffffff); !ok || b != (record.AcceptQueue{Length: 0x7fff, Limit: 0x7fff, Full: true}) {
		t.Errorf("%+v, %v", b, ok)
	}
	if b, ok := parseBacklog(0); ok {
		t.Errorf("nobody listens, and there is %+v", b)
	}
}

// TestBacklogs asks of another namespace how full the queues of its sockets are.
func TestBacklogs(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	home, err := currentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { home.Close() })
	pod, err := netns.New() // in which this thread now is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pod.Close() })
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	const most = 2
	listening := func(family int, address unix.Sockaddr) (port uint16) {
		t.Helper()
		s, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(s) })
		if err := unix.Bind(s, address); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(s, most); err != nil {
			t.Fatal(err)
		}
		bound, err := unix.Getsockname(s)
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := bound.(*unix.SockaddrInet6); ok {
			return uint16(a.Port)
		}
		return uint16(bound.(*unix.SockaddrInet4).Port)
	}
	four, six := listening(unix.AF_INET, &unix.SockaddrInet4{}), listening(unix.AF_INET6, &unix.SockaddrInet6{})
	connect := func(to netip.AddrPort) {
		t.Helper()
		conn, err := net.DialTimeout("tcp", to.String(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	at4 := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), four)
	at6 := netip.AddrPortFrom(netip.MustParseAddr("::1"), six)
	for range most + 1 { // one more than it says: sk_acceptq_is_full()
		connect(at4)
	}
	connect(at6)

	const id = 7
	if err := home.do(func() error { return netlink.SetNetNsIdByFd(int(pod), id) }); err != nil {
		t.Fatal(err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := bpfobj.LoadTracer()
	if err != nil {
		t.Fatal(err)
	}
	l := &Loader{space: home}
	only := *spec
	only.Maps, only.Variables = nil, nil // it has none
	only.Programs = map[string]*ebpf.ProgramSpec{bpfobj.TracerProgTracerListener: spec.Programs[bpfobj.TracerProgTracerListener]}
	collection, err := ebpf.NewCollection(&only)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(collection.Close)
	l.objects.Listener = collection.Programs[bpfobj.TracerProgTracerListener]
	closed := netip.AddrPortFrom(at4.Addr(), 1)
	want := map[ListenTarget]record.AcceptQueue{{id, at4}: {Length: most + 1, Limit: most, Full: true}, {id, at6}: {Length: 1, Limit: most}}
	var found map[ListenTarget]record.AcceptQueue
	for until := time.Now().Add(10 * time.Second); !maps.Equal(found, want); { // who connects is not waited for by who listens
		if time.Now().After(until) {
			t.Fatalf("got %+v, want %+v", found, want)
		}
		if found, err = l.AcceptQueues([]ListenTarget{{id, at4}, {id, at6}, {id, closed}, {id + 1, at4}}); err != nil {
			t.Fatal(err)
		}
	}
}
