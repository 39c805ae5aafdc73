package loader

import (
	"context"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// forwarding is a namespace that forwards packets from one pod to another, and is traced.
type forwarding struct {
	*testing.T
	*Loader
	from, to netdev.Device
	sender   *net.UDPConn
	finished chan record.Record
	tcx      bool
}

// startForwarding traces by TCX or, without it, as on a kernel that has none.
func startForwarding(t *testing.T, tcx bool) *forwarding {
	t.Helper()
	inNamespace(t)
	f := &forwarding{T: t, finished: make(chan record.Record, 1000), tcx: tcx}
	f.to = netdev.Device{Name: "cali2", Role: netdev.RolePod, Ethernet: true, Leaves: true}
	f.to.Index = neighbour(t, f.to.Name, []string{"10.9.2.1/24"}, []string{"10.9.2.2/24"}, func() {})
	f.from = netdev.Device{Name: "cali1", Role: netdev.RolePod, Ethernet: true, Leaves: true}
	f.from.Index = neighbour(t, f.from.Name, []string{"10.9.1.1/24"}, []string{"10.9.1.2/24"}, func() {
		_, to, _ := net.ParseCIDR("10.9.2.0/24")
		must(t, netlink.RouteAdd(&netlink.Route{Dst: to, Gw: net.ParseIP("10.9.1.1")}))
		var err error
		f.sender, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP("10.9.1.2")})
		must(t, err)
	})
	t.Cleanup(func() { f.sender.Close() })
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))

	var err error
	f.Loader, err = New(Options{Dir: t.TempDir(), Kernel: &ofAllTests})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- f.Loader.Run(ctx, func(batch []record.Record) {
			for i := range batch {
				if batch[i].Kind == record.Finished && batch[i].First.Protocol == unix.IPPROTO_UDP {
					f.finished <- batch[i]
				}
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if !tcx {
		f.features.TCX = false
	}
	must(t, f.SetDevices([]netdev.Device{f.from, f.to}, nil))
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hooks are those that a packet from pod to pod passes now.
func (f *forwarding) hooks() (seen []string) {
	f.Helper()
	for len(f.finished) > 0 {
		<-f.finished
	}
	_, err := f.sender.WriteToUDP([]byte("hello"), &net.UDPAddr{IP: net.ParseIP("10.9.2.2"), Port: 4000})
	must(f.T, err)
	select {
	case r := <-f.finished:
		for _, h := range r.Hops[:r.Len] {
			seen = append(seen, h.Hook.String())
		}
	case <-time.After(10 * readInterval):
	}
	return seen
}

var allHooks = []string{"ingress", "egress", "xmit"}

// mended waits until all hooks see packets again and are up, and returns what was wrong, by device and hook.
func (f *forwarding) mended() map[string]string {
	f.Helper()
	problems := map[string]string{}
	var down []string
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		list, err := f.MendHooks()
		must(f.T, err)
		for _, m := range list {
			problems[m.Device+" "+m.Name] += m.Problem
		}
		if down = f.down(); len(down) == 0 {
			if seen := f.hooks(); slices.Equal(seen, allHooks) {
				return problems
			}
		}
	}
	f.Fatalf("not mended; down: %q; mended: %v; a packet passes %v", down, problems, f.hooks())
	return nil
}

// down are the hooks that are not up, and why.
func (f *forwarding) down() (down []string) {
	hooks, _ := f.Hooks()
	for _, h := range hooks {
		if !h.Up {
			down = append(down, h.Device+" "+h.Name+": "+h.Error)
		}
	}
	return down
}

// chainOf names what others and we have at a hook, in the order of the kernel: bpf filters by name, others by kind.
func (f *forwarding) chainOf(d netdev.Device, direction string) (names []string) {
	f.Helper()
	var tc tcReader
	defer tc.Close()
	filters, err := tc.filters(d.Index, direction)
	must(f.T, err)
	for i := range filters {
		switch filter := &filters[i]; {
		case !filter.rule:
		case filter.name != "":
			names = append(names, filter.name)
		default:
			names = append(names, filter.kind)
		}
	}
	return names
}

// verdict is a program that does nothing but return it.
func verdict(t *testing.T, name string, value int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, value), asm.Return()},
	})
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// attrs places a filter of somebody else.
func attrs(d netdev.Device, direction string, priority, protocol uint16) netlink.FilterAttrs {
	return netlink.FilterAttrs{LinkIndex: d.Index, Parent: filterParent(direction), Priority: priority, Protocol: protocol}
}

func foreignBPF(t *testing.T, a netlink.FilterAttrs) *netlink.BpfFilter {
	t.Helper()
	a.Handle = 7
	b := &netlink.BpfFilter{FilterAttrs: a, Fd: verdict(t, "theirs", 0).FD(), Name: "theirs", DirectAction: true}
	must(t, netlink.FilterAdd(b))
	return b
}

// toIFB redirects all packets of a direction to an ifb, as the bandwidth plugin does it.
func toIFB(t *testing.T, a netlink.FilterAttrs) *netlink.U32 {
	t.Helper()
	if _, err := netlink.LinkByName("ifb7"); err != nil {
		must(t, netlink.LinkAdd(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "ifb7"}}))
	}
	ifb, err := netlink.LinkByName("ifb7")
	must(t, err)
	must(t, netlink.LinkSetUp(ifb))
	u := &netlink.U32{FilterAttrs: a, Actions: []netlink.Action{netlink.NewMirredAction(ifb.Attrs().Index)}}
	must(t, netlink.FilterAdd(u))
	return u
}
