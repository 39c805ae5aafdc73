package loader

import (
	"maps"
	"net"
	"net/netip"
	"os"
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

// TestParseListener judges queues as the kernel does.
func TestParseListener(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		a           bpfobj.TracerListenerAnswer
		accept, syn bool
	}{
		{name: "room", a: bpfobj.TracerListenerAnswer{AcceptLength: 3, AcceptLimit: 4096, SynLength: 3, MaxSynBacklog: 1024}},
		{name: "as many as may wait", a: bpfobj.TracerListenerAnswer{AcceptLength: 4, AcceptLimit: 4, MaxSynBacklog: 1024}},
		{name: "one more than may wait", a: bpfobj.TracerListenerAnswer{AcceptLength: 5, AcceptLimit: 4, MaxSynBacklog: 1024}, accept: true},
		{name: "the socket's limit of half-open ones", a: bpfobj.TracerListenerAnswer{AcceptLimit: 4, SynLength: 4, MaxSynBacklog: 1024}, syn: true},
		{name: "the same with cookies", a: bpfobj.TracerListenerAnswer{AcceptLimit: 4, SynLength: 4, MaxSynBacklog: 1024, Syncookies: 1}},
		{name: "three quarters of the backlog", a: bpfobj.TracerListenerAnswer{AcceptLimit: 4096, SynLength: 6, MaxSynBacklog: 8}},
		{name: "more than three quarters", a: bpfobj.TracerListenerAnswer{AcceptLimit: 4096, SynLength: 7, MaxSynBacklog: 8}, syn: true},
		{name: "more than the backlog", a: bpfobj.TracerListenerAnswer{AcceptLimit: 4096, SynLength: 9, MaxSynBacklog: 8}, syn: true},
	} {
		if l := parseListener(&test.a); l.AcceptQueue.Full != test.accept || l.SYNQueue.Full != test.syn {
			t.Errorf("%s: %+v", test.name, l)
		}
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
	for name, value := range map[string]string{"tcp_syncookies": "0", "tcp_max_syn_backlog": "77"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
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
	syn := record.SYNQueue{Limit: most, Backlog: 77}
	want := map[ListenTarget]record.Listener{
		{id, at4}: {AcceptQueue: record.AcceptQueue{Length: most + 1, Limit: most, Full: true}, SYNQueue: syn},
		{id, at6}: {AcceptQueue: record.AcceptQueue{Length: 1, Limit: most}, SYNQueue: syn},
	}
	var found map[ListenTarget]record.Listener
	for until := time.Now().Add(10 * time.Second); !maps.Equal(found, want); { // who connects is not waited for by who listens
		if time.Now().After(until) {
			t.Fatalf("got %+v, want %+v", found, want)
		}
		if found, err = l.Listeners([]ListenTarget{{id, at4}, {id, at6}, {id, closed}, {id + 1, at4}}); err != nil {
			t.Fatal(err)
		}
	}
}
