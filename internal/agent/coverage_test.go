package agent

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// diagnosed is the diagnosis of a node's next seconds.
func (c *cluster) diagnosed(node int, d time.Duration) diagnose.Report {
	c.Helper()
	from := c.now(node)
	time.Sleep(d)
	r := diagnose.Diagnose("node", from, c.now(node))
	data, err := json.Marshal(r.Coverage)
	if err != nil {
		c.Fatal(err)
	}
	c.Logf("node %d: %s: %s\n%s", node+1, r.Verdict, r.Summary, data)
	return r
}

// coverageOf is a row of a report; nil if there is none.
func coverageOf(r *diagnose.Report, device string, direction journey.Direction) *diagnose.Coverage {
	for i := range r.Coverage {
		if c := &r.Coverage[i]; c.Device == device && c.Direction == direction {
			return c
		}
	}
	return nil
}

// wantCoverage checks a row's ratio and what its reason says.
func (c *cluster) wantCoverage(r *diagnose.Report, device string, direction journey.Direction, least, most float64, reason string) {
	c.Helper()
	row := coverageOf(r, device, direction)
	switch {
	case row == nil || row.Ratio == nil:
		c.Errorf("%s %s: no ratio in %+v", device, direction, row)
	case *row.Ratio < least || *row.Ratio > most:
		c.Errorf("%s %s: ratio %v, want %v to %v", device, direction, *row.Ratio, least, most)
	case !strings.Contains(row.Reason, reason) || (row.Reason == "") != (reason == ""):
		c.Errorf("%s %s: %q, want %q in it", device, direction, row.Reason, reason)
	}
}

// wantAllSeen checks that nothing is unseen.
func (c *cluster) wantAllSeen(r *diagnose.Report) {
	c.Helper()
	for i := range r.Coverage {
		if row := &r.Coverage[i]; row.Low() {
			c.Errorf("%s", row.Sentence())
		}
	}
}

// TestCoverageHealthy: on busy nodes nothing is unseen, at whatever sampling.
func TestCoverageHealthy(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]governor.Limits{
		"every packet": {MaxRecords: 1e9, MaxCPU: 1e3},
		"a sample":     {MaxRecords: 60, MaxCPU: 1e3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newLimitedCluster(t, load.Config{Rate: 1000, Size: 90, TCP: 5 * time.Millisecond}, limits)
			for node := range c.agents {
				if limits.MaxRecords < 1000 {
					c.sampled(node)
				}
				r := c.diagnosed(node, 4*time.Second)
				t.Logf("one in %d", c.agents[node].Sampling().OneIn)
				if r.Verdict == diagnose.Blind || r.Verdict == diagnose.NoTraffic {
					t.Errorf("node %d: %s: %s", node+1, r.Verdict, r.Summary)
				}
				c.wantAllSeen(&r)
				for _, device := range []string{"pod", uplink, c.lab.OverlayDevice()} {
					for _, direction := range []journey.Direction{journey.In, journey.Out} {
						c.wantCoverage(&r, device, direction, 0.95, 1, "")
					}
				}
			}
		})
	}
}

// uplink is the nodes' device to each other.
const uplink = "eth0"

// attachForeign attaches somebody else's program at a tc hook of a device of a node, before ours or behind it.
func (c *cluster) attachForeign(node int, device, hook string, before bool, program asm.Instructions) (detach func()) {
	c.Helper()
	return attachForeign(c.T, c.lab.Node(node+1).Netns, device, hook, before, program)
}

func attachForeign(t *testing.T, in lab.Namespace, device, hook string, before bool, program asm.Instructions) (detach func()) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "foreign", Type: ebpf.SchedCLS, License: "GPL", Instructions: program})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	var take func() error
	err = in.Do(func() error {
		d, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		direction, parent := ebpf.AttachTCXIngress, uint32(netlink.HANDLE_MIN_INGRESS)
		if hook == "egress" {
			direction, parent = ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS
		}
		at, priority := link.Tail(), uint16(99)
		if before {
			at, priority = link.Head(), 1
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: d.Attrs().Index, Program: p, Attach: direction, Anchor: at})
		if err == nil || !errors.Is(err, ebpf.ErrNotSupported) {
			take = func() error { return l.Close() }
			return err
		}
		f := &netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: d.Attrs().Index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: priority},
			Fd:          p.FD(), Name: "foreign", DirectAction: true,
		}
		take = func() error { return in.Do(func() error { return netlink.FilterDel(f) }) }
		return netlink.FilterAdd(f)
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := take(); err != nil {
			t.Error(err)
		}
	}
}

// takeAll ends the chain for every packet, takeHalf for one in two, with TC_ACT_OK: the packet goes on, and no program behind sees it.
var (
	takeAll  = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	takeHalf = asm.Instructions{asm.FnGetPrandomU32.Call(), asm.And.Imm(asm.R0, 1), asm.JEq.Imm(asm.R0, 0, "take"),
		asm.Mov.Imm(asm.R0, -1), asm.Return().WithSymbol("take")}
)

// TestCoverageBehindForeignProgram has a program before ours take packets at the hooks of a pod's device.
func TestCoverageBehindForeignProgram(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 400, Size: 90}, func(o *Options) { o.leaveHooks = true })
	web, _ := c.lab.Pod(lab.Web)
	detach := c.attachForeign(0, web.Device, "ingress", true, takeHalf)
	r := c.diagnosed(0, 3*time.Second)
	c.wantCoverage(&r, "pod", journey.Out, 0.4, 0.6, "a tc program before ours takes packets at the ingress of "+web.Device[:4])
	c.wantCoverage(&r, "pod", journey.In, 0.95, 1, "")
	detach()
	detach = c.attachForeign(0, web.Device, "ingress", true, takeAll)
	r = c.diagnosed(0, 3*time.Second)
	c.wantCoverage(&r, "pod", journey.Out, 0, 0.05, "no packet reaches the ingress hook that is attached")
	if r.Verdict != diagnose.Blind || r.ExitCode() != 3 {
		t.Errorf("%s, exit code %d: %s", r.Verdict, r.ExitCode(), r.Summary)
	}
	c.eventually(15*time.Second, "the hook is said to be down", func() (bool, string) {
		c.now(0)
		hooks, _ := c.agents[0].Hooks()
		for _, h := range hooks {
			if h.Device == web.Device && h.Name == "ingress" {
				return !h.Up && h.Silent && strings.Contains(h.Error, "no packet reaches it"), fmt.Sprintf("%+v", h)
			}
		}
		return false, "there is no such hook"
	})
	detach()
	c.eventually(15*time.Second, "the hook is up again", func() (bool, string) {
		c.now(0)
		hooks, _ := c.agents[0].Hooks()
		for _, h := range hooks {
			if !h.Up {
				return false, fmt.Sprintf("%+v", h)
			}
		}
		return true, ""
	})
	r = c.diagnosed(0, 2*time.Second)
	c.wantAllSeen(&r)
	detach = c.attachForeign(0, web.Device, "egress", true, takeAll)
	defer detach()
	r = c.diagnosed(0, 3*time.Second)
	c.wantCoverage(&r, "pod", journey.In, 0, 0.05, "inbound to pods of "+web.Device[:4])
	if r.Verdict != diagnose.Blind {
		t.Errorf("%s: %s", r.Verdict, r.Summary)
	}
}

// hostOrder is an address as a number.
func hostOrder(a netip.Addr) int32 { return int32(binary.BigEndian.Uint32(a.AsSlice())) }

// forAddress does something with the packets for an address, and leaves others alone. R6 is the packet.
func forAddress(to netip.Addr, do asm.Instructions) asm.Instructions {
	do[0] = do[0].WithSymbol("do")
	const destination = -0x100000 + 16 // in an IPv4 header, from where it begins (SKF_NET_OFF)
	return append(asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(destination, asm.Word),
		asm.Mov.Imm32(asm.R1, hostOrder(to)),
		asm.JEq.Reg(asm.R0, asm.R1, "do"),
		asm.Mov.Imm(asm.R0, -1),
		asm.Return(),
	}, do...)
}

// TestCoverageRedirected has programs redirect packets into a pod of which nobody knows that it is on this node, past its device.
func TestCoverageRedirected(t *testing.T) {
	t.Parallel()
	o := lab.HostRouted()["tunnel"]
	o.Load = load.Config{Rate: 400, Size: 90}
	c := newLabCluster(t, o, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}, func(o *Options) { o.OwnerSource = noPods{} })
	r := c.diagnosed(1, 4*time.Second)
	if r.Verdict != diagnose.Blind {
		t.Errorf("into the pod: %s: %s", r.Verdict, r.Summary)
	}
	c.wantCoverage(&r, uplink, journey.In, 0, 0.5, "redirected to the pods past their devices")
	c.wantCoverage(&r, "pod", journey.Out, 0.95, 1, "")
}

// noPods is an OwnerSource that knows none of this node's pods.
type noPods struct{}

func (noPods) Resolved(netip.Addr, time.Duration) bool { return true }

func (noPods) LocalPods() []netip.Addr { return nil }

func (noPods) DeviceChanged(netip.Addr, time.Duration) {}

// TestCoverageIdle: ARP on a node without other traffic is neither traffic nor unseen.
func TestCoverageIdle(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 0.001, Size: 90}) // a call at the start, and none for as long as this may take
	web, _ := c.lab.Pod(lab.Web)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for _, from := range []lab.Namespace{web.Netns, c.lab.Node(2).Netns} {
		if err := from.Do(func() error { return broadcastARP(ctx, "eth0", 20*time.Millisecond) }); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second) // nothing tells when the kernel has sent what it sends by itself for new devices (MLD)
	for node := range c.agents {
		r := c.diagnosed(node, 4*time.Second)
		if r.Verdict != diagnose.NoTraffic {
			t.Errorf("node %d: %s: %s", node+1, r.Verdict, r.Summary)
		}
		c.wantAllSeen(&r)
	}
}

// broadcastARP sends requests for nobody out of a device until ctx ends.
func broadcastARP(ctx context.Context, device string, every time.Duration) error {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	frame := make([]byte, 42)
	copy(frame, "\xff\xff\xff\xff\xff\xff")
	copy(frame[6:], d.HardwareAddr)
	binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_ARP)
	copy(frame[14:], "\x00\x01\x08\x00\x06\x04\x00\x01")
	copy(frame[22:], d.HardwareAddr)
	copy(frame[38:], "\xc0\x00\x02\x07")
	go func() {
		defer unix.Close(socket)
		for ctx.Err() == nil {
			_ = unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: d.Index, Protocol: 0x0608, Halen: 6})
			time.Sleep(every)
		}
	}()
	return nil
}

// TestCoverageNodeLocal: what pods send to the node's own sockets ends there, by the node's address as well as by a Service's whose
// endpoint is in the host network.
func TestCoverageNodeLocal(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 0.02, Size: 90})
	node := c.lab.Node(1)
	web, _ := c.lab.Pod(lab.Web)
	const service = "10.96.0.53"
	rules := fmt.Sprintf("table ip own { chain in { type nat hook prerouting priority -110; ip daddr %s dnat to %s; }; }", service, node.Address)
	if out, err := exec.Command("ip", "netns", "exec", string(node.Netns), "nft", rules).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	var server net.PacketConn
	err := node.Do(func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(node.Address, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:n], from)
		}
	}()
	port := server.LocalAddr().(*net.UDPAddr).Port
	for _, to := range []string{node.Address.String(), service} {
		ctx, stop := context.WithCancel(t.Context())
		err := web.Do(func() error {
			conn, err := net.Dial("udp", net.JoinHostPort(to, fmt.Sprint(port)))
			if err != nil {
				return err
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 100)
				for ctx.Err() == nil {
					_, _ = conn.Write([]byte("a question to the node"))
					_ = conn.SetReadDeadline(time.Now().Add(time.Second))
					_, _ = conn.Read(b)
					time.Sleep(4 * time.Millisecond)
				}
			}()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r := c.diagnosed(0, 4*time.Second) // from the first packet on
		if r.Verdict != diagnose.Healthy {
			t.Errorf("by %s: %s: %s", to, r.Verdict, r.Summary)
		}
		c.wantAllSeen(&r)
		c.wantCoverage(&r, "pod", journey.Out, 0.95, 1, "")
		stop()
	}
}
