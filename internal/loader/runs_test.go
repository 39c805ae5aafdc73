package loader

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

// runsNode is a node of one pod, with an overlay and an uplink whose other end is the test: so no packet meets a second node in this
// kernel. The uplink has a queue, as network cards do, which holds nothing.
type runsNode struct {
	*testing.T
	*Loader
	pod       *net.UDPConn    // the pod's socket
	elsewhere [2]*net.UDPConn // of namespaces that are not traced: what one sends the other receives
	wire      *os.File
	frame     []byte          // as it came out last
	traced    []netdev.Device // the last one is the uplink
}

const (
	// runsPackets are few, as nothing else may be sent on the machine while they pass.
	runsPackets = 8
	// runsWait is for a packet to come.
	runsWait = 2 * time.Second
)

var runsTo = netip.MustParseAddrPort("10.244.2.3:9")

func newRunsNode(t *testing.T) *runsNode {
	t.Helper()
	inNamespace(t)
	n := &runsNode{T: t}
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)) // it would send packets of its own
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	pod := netdev.Device{Name: "cali1", Role: netdev.RolePod, Ethernet: true, Leaves: true}
	pod.Index = neighbour(t, pod.Name, []string{"10.9.0.1/24"}, []string{"10.9.0.2/24"}, func() {
		n.pod = n.listen("10.9.0.2")
		must(t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("10.9.0.1")}))
	})
	n.joinElsewhere()

	uplink := n.addUplink()
	overlay := n.addOverlay(uplink)
	n.traced = []netdev.Device{pod, overlay, uplink}
	var err error
	n.Loader, err = New(Options{Dir: t.TempDir(), Kernel: &ofAllTests, edit: standIns})
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

// joinElsewhere makes two namespaces that are joined by a veth and not traced.
func (n *runsNode) joinElsewhere() {
	n.Helper()
	home, err := netns.Get()
	must(n.T, err)
	defer home.Close()
	other, err := netns.New()
	must(n.T, err)
	n.Cleanup(func() { other.Close() })
	neighbour(n.T, "eth1", []string{"10.7.0.1/24"}, []string{"10.7.0.2/24"}, func() { n.elsewhere[1] = n.listen("10.7.0.2") })
	n.elsewhere[0] = n.listen("10.7.0.1")
	must(n.T, netns.Set(home))
}

// listen opens a socket in the calling thread's namespace.
func (n *runsNode) listen(address string) *net.UDPConn {
	n.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(address)})
	must(n.T, err)
	n.Cleanup(func() { c.Close() })
	return c
}

func (n *runsNode) addUplink() netdev.Device {
	n.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		out, err := exec.Command("modprobe", "tun").CombinedOutput()
		if err != nil {
			n.Fatalf("load the module of taps: %v: %s", err, out)
		}
	}
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI,
		NonPersist: true, Queues: 1}
	must(n.T, netlink.LinkAdd(tap))
	n.wire = tap.Fds[0]
	n.Cleanup(func() { n.wire.Close() })
	n.up(tap, "172.18.0.2/24")
	n.knows(tap, "172.18.0.3")
	return netdev.Device{Index: tap.Index, Name: tap.Name, Role: netdev.RoleUplink, Ethernet: true, Leaves: true}
}

func (n *runsNode) addOverlay(uplink netdev.Device) netdev.Device {
	n.Helper()
	const port = 4789
	v := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan0"}, VxlanId: 1, VtepDevIndex: uplink.Index, Port: port,
		SrcAddr: net.ParseIP("172.18.0.2"), Group: net.ParseIP("172.18.0.3")}
	must(n.T, netlink.LinkAdd(v))
	n.up(v, "10.244.1.0/32")
	n.knows(v, runsTo.Addr().String())
	_, to, err := net.ParseCIDR("10.244.2.0/24")
	must(n.T, err)
	must(n.T, netlink.RouteAdd(&netlink.Route{Dst: to, LinkIndex: v.Index, Scope: netlink.SCOPE_LINK}))
	return netdev.Device{Index: v.Index, Name: v.Name, Kind: "vxlan", Role: netdev.RoleOverlay, Ethernet: true, TunnelPort: port}
}

func (n *runsNode) up(l netlink.Link, address string) {
	n.Helper()
	a, err := netlink.ParseAddr(address)
	must(n.T, err)
	must(n.T, netlink.AddrAdd(l, a))
	must(n.T, netlink.LinkSetUp(l))
}

// knows gives an address behind a device a MAC for good.
func (n *runsNode) knows(l netlink.Link, address string) {
	n.Helper()
	must(n.T, netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: net.ParseIP(address), State: netlink.NUD_PERMANENT,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 3}}))
}

// out has the pod send a packet to another node.
func (n *runsNode) out() error {
	if _, err := n.pod.WriteToUDPAddrPort(make([]byte, 64), runsTo); err != nil {
		return err
	}
	came := []unix.PollFd{{Fd: int32(n.wire.Fd()), Events: unix.POLLIN}}
	if ready, err := unix.Poll(came, int(runsWait.Milliseconds())); err != nil || ready == 0 {
		return fmt.Errorf("nothing came out of the uplink: %w", err)
	}
	frame := make([]byte, 2048)
	length, err := n.wire.Read(frame)
	n.frame = frame[:length]
	return err
}

// in has an answer come from there.
func (n *runsNode) in() error {
	const ip, tunnel, innerIP, innerTransport = 14, 14 + 20 + 8, 14 + 20 + 8 + 8 + 14, 14 + 20 + 8 + 8 + 14 + 20
	answer := bytes.Clone(n.frame)
	swap := func(at, size int) {
		copy(answer[at:], n.frame[at+size:at+2*size])
		copy(answer[at+size:], n.frame[at:at+size])
	}
	const mac, address, port = 6, 4, 2
	swap(0, mac)
	swap(ip+12, address)
	swap(tunnel+8, mac) // the outer ports stay: the tunnel's is the destination's
	swap(innerIP+12, address)
	swap(innerTransport, port)
	if _, err := n.wire.Write(answer); err != nil {
		return err
	}
	return receive(n.pod)
}

// past is a packet that is not the node's.
func (n *runsNode) past() error {
	to, err := netip.ParseAddrPort(n.elsewhere[1].LocalAddr().String())
	if err != nil {
		return err
	}
	if _, err := n.elsewhere[0].WriteToUDPAddrPort(make([]byte, 64), to); err != nil {
		return err
	}
	return receive(n.elsewhere[1])
}

func receive(c *net.UDPConn) error {
	if err := c.SetReadDeadline(time.Now().Add(runsWait)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 2048))
	return err
}

// runs counts how often each program runs while packets pass; want are for one packet, and any of them will do. The tracepoints see the
// whole machine: what counts is a time in which nothing else was sent.
func (n *runsNode) runs(name string, pass func() error, want ...map[string]int) {
	n.Helper()
	var got map[string]int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		before := n.count()
		for range runsPackets {
			if err := pass(); err != nil {
				n.Fatalf("%s: %v", name, err)
			}
		}
		got = n.count()
		for program := range got {
			got[program] -= before[program]
		}
		maps.DeleteFunc(got, func(_ string, runs int) bool { return runs == 0 })
		for _, one := range want {
			all := maps.Clone(one)
			for program := range all {
				all[program] *= runsPackets
			}
			if maps.Equal(got, all) {
				n.Logf("%-40s %v", name, one)
				return
			}
		}
	}
	n.Errorf("%s: runs of %d packets: %v, want as many times %v", name, runsPackets, got, want)
}

func (n *runsNode) count() map[string]int {
	n.Helper()
	list, err := n.Programs()
	must(n.T, err)
	all := map[string]int{}
	for _, p := range list {
		all[p.Program] = int(p.Runs)
	}
	return all
}

// TestRuns counts, by the kernel's statistics, how often the programs run for one packet: where its devices have no queue that holds it, and
// with one at the uplink. docs/design.md#why-consume_skb-is-traced has the numbers.
func TestRuns(t *testing.T) {
	n := newRunsNode(t)
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	must(t, err)
	defer statistics.Close()
	out := map[string]int{"ingress": 1, "egress": 2, "start_xmit": 3} // in the pod, at the overlay, at the uplink
	in := map[string]int{"ingress": 2, "egress": 1, "start_xmit": 1}
	past := map[string]int{"start_xmit": 1}
	with := func(runs map[string]int, programs ...string) map[string]int {
		runs = maps.Clone(runs)
		for _, p := range programs {
			runs[p]++
		}
		return runs
	}
	// A qdisc with a lock is looked into once more when its packet has gone past it; before 5.14 none is gone past.
	queued := func(out map[string]int) []map[string]int {
		return []map[string]int{out, with(out, "dequeue"), with(out, "dequeue", "dequeue")}
	}
	// Newer kernels free a datagram that was read without consume_skb.
	consumed := func(name string, out ...map[string]int) {
		t.Helper()
		n.runs(name+": out", n.out, out...)
		n.runs(name+": in", n.in, in, with(in, "consume"))
		n.runs(name+": not the node's", n.past, past, with(past, "consume"))
	}
	must(t, n.SetDevices(n.traced, nil))
	consumed("no queue", queued(with(out, "consume"))...)

	uplink := &n.traced[len(n.traced)-1]
	uplink.Root = netdev.Qdisc{Kind: "tbf"}
	l, err := netlink.LinkByIndex(uplink.Index)
	must(t, err)
	must(t, netlink.QdiscAdd(&netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: 1 << 16, Parent: netlink.HANDLE_ROOT},
		Rate: 1e9, Limit: 1 << 20, Buffer: 1 << 20}))
	must(t, n.SetDevices(n.traced, nil))
	consumed("a queue", with(out, "consume", "dequeue", "dequeue")) // the second time it finds none
}
