package truth

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// attachAfter attaches a foreign program after ours at the egress of a device of the first node. For datagrams to a port it
// runs the instructions in answer and returns their verdict; for all others it has none.
func (r *rig) attachAfter(device string, port uint16, answer asm.Instructions) {
	r.Helper()
	const dport = 22 // behind an IPv4 header without options
	offset := int32(dport)
	if strings.HasPrefix(device, "vxlan") {
		offset += 14
	}
	program := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(offset, asm.Half),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.JEq.Imm(asm.R7, int32(port), "answer"),
		asm.Mov.Imm(asm.R0, -1),
		asm.Return(),
	}
	answer[0] = answer[0].WithSymbol("answer")
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "foreign", Type: ebpf.SchedCLS, License: "GPL", Instructions: append(program, answer...)})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { p.Close() })
	err = r.lab.Node(1).Do(func() error {
		index := r.index(0, device)
		l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXEgress, Anchor: link.Tail()})
		if err == nil {
			r.Cleanup(func() { l.Close() })
			return nil
		}
		f := &netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 99},
			Fd:          p.FD(), Name: "foreign", DirectAction: true,
		}
		if err := netlink.FilterAdd(f); err != nil {
			return err
		}
		r.Cleanup(func() {
			if err := r.lab.Node(1).Do(func() error { return netlink.FilterDel(f) }); err != nil {
				r.Error(err)
			}
		})
		return nil
	})
	if err != nil {
		r.Fatalf("attach after ours: %v", err)
	}
}

// tcShot has a foreign program drop packets after ours (TC_ACT_SHOT): a drop at the hook, and not of the queue.
func tcShot(r *rig) {
	const packets, actShot = 10, 2 // TC_ACT_SHOT
	w := r.pairs[0]
	r.awaitDrops()
	before, queues := r.otherDrops(0), r.queueDrops(0)[w.overlay]
	r.attachAfter(w.overlay, dropPort, asm.Instructions{asm.Mov.Imm(asm.R0, actShot), asm.Return()})
	if err := sendTo(w, datagrams{to: netip.AddrPortFrom(w.server.Addr(), dropPort), size: 32, n: packets}); err != nil {
		r.Fatal(err)
	}
	r.eventually(20*time.Second, "packets that the program dropped", func() (bool, string) {
		var n uint64
		text := ""
		for key, count := range r.otherDrops(0) {
			if d := count - before[key]; d > 0 && key.Device == w.overlay {
				n += d
				text += fmt.Sprintf("%d by %s at %s of %s; ", d, key.Reason, key.Location, key.Stage)
			}
		}
		return n == packets, text
	})
	if n := r.queueDrops(0)[w.overlay] - queues; n != 0 {
		r.Errorf("%d are counted as a queue's, and there is none", n)
	}
}

// tcRedirect has a foreign program redirect packets after ours: their journeys say so, and there is no stage of a device
// that they did not pass.
func tcRedirect(r *rig) {
	const packets = 10
	// By vxlan everywhere: a packet without an Ethernet header cannot go to a pod's device.
	w := r.vxlan()
	back := r.index(0, w.from.Device)
	r.attachAfter(w.overlay, dropPort, asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(back)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
	})
	for _, n := range r.nodes {
		n.reset()
	}
	if err := sendTo(w, datagrams{to: netip.AddrPortFrom(w.server.Addr(), dropPort), size: 32, n: packets}); err != nil {
		r.Fatal(err)
	}
	devices := journey.NewDevices(r.nodes[0].agent.KnownDevices())
	r.eventually(20*time.Second, "packets that were redirected", func() (bool, string) {
		n := 0
		for _, one := range r.nodes[0].take() {
			if one.First.Destination.Port() != dropPort || one.Kind != record.Finished {
				continue
			}
			path, err := journey.PathOf(&one, devices)
			if err != nil {
				r.Fatalf("%+v: %v", one, err)
			}
			hops := one.Passed()
			if last := hops[len(hops)-1]; last.Hook != record.Xmit || last.Ifindex != back {
				r.Fatalf("the last hook is %v, want xmit at %s", last, w.from.Device)
			}
			for _, step := range path.Steps() {
				if step.Device != nil && step.Device.Name == w.overlay && (step.Stage == journey.Queue || step.Stage == journey.Encap) {
					r.Errorf("%s of %v at %s, where the packet never was", step.Stage, step.Delay, w.overlay)
				}
			}
			n++
		}
		return n == packets, fmt.Sprintf("%d of %d", n, packets)
	})
}
