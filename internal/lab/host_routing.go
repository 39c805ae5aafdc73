package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HostRouted are labs in which programs route pods' packets in each of the ways that CNIs have.
func HostRouted() map[string]Options {
	return map[string]Options{
		"uplink":         {Overlay: Native, HostRouting: true},
		"tunnel":         {Overlay: VXLAN, HostRouting: true},
		"netkit, uplink": {Overlay: Native, HostRouting: true, Netkit: true},
		"netkit, tunnel": {Overlay: VXLAN, HostRouting: true, Netkit: true},
	}
}

// routeInBPF has programs route what a node's pods send and get, as Cilium's host routing does. What a pod sends to another node
// leaves its device for the uplink, with the next hop's link address (bpf_redirect_neigh), or for the tunnel's device, with the
// node's address (bpf_skb_set_tunnel_key). What comes for a pod goes from there into the pod, past its device
// (bpf_redirect_peer). All else is left to the kernel.
func (t *topology) routeInBPF(node Node) error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("route in BPF: %w", err)
	}
	err := node.Do(func() error {
		overlay, err := netlink.LinkByName(t.overlayDevice())
		if err != nil {
			return fmt.Errorf("find %s: %w", t.overlayDevice(), err)
		}
		pods := map[netip.Addr]int{}
		var devices []int
		for _, pod := range t.Pods {
			if pod.Node != node.Name {
				continue
			}
			device, err := netlink.LinkByName(pod.Device)
			if err != nil {
				return fmt.Errorf("find %s: %w", pod.Device, err)
			}
			pods[pod.Address] = device.Attrs().Index
			devices = append(devices, device.Attrs().Index)
		}
		in := newRouter()
		for address, device := range pods {
			in.toPod(address, device)
		}
		out := newRouter()
		for _, peer := range t.peers(node) {
			if t.Overlay == Native {
				out.toNeighbour(peer.Pods, overlay.Attrs().Index)
			} else {
				out.toTunnel(peer.Pods, overlay.Attrs().Index, peer.Address)
			}
		}
		fromPods := ebpf.AttachTCXIngress
		if t.Netkit {
			fromPods = ebpf.AttachNetkitPeer // has no peer to redirect to
		} else {
			for address, device := range pods {
				out.toPod(address, device)
			}
		}
		if err := in.attach("from_overlay", ebpf.AttachTCXIngress, overlay.Attrs().Index); err != nil {
			return err
		}
		return out.attach("from_pod", fromPods, devices...)
	})
	if err != nil {
		return fmt.Errorf("%s: route in BPF: %w", node.Name, err)
	}
	return nil
}

// router is a tc program that redirects IPv4 packets by their destination.
type router struct {
	choose, redirect asm.Instructions
	routes           int
}

const (
	packet      = asm.R6 // struct __sk_buff *
	destination = asm.R7 // of its IP header
)

func newRouter() *router {
	const (
		protocol      = 16        // in struct __sk_buff
		networkHeader = -0x100000 // SKF_NET_OFF
		daddr         = 16        // in struct iphdr
	)
	return &router{choose: asm.Instructions{
		asm.Mov.Reg(packet, asm.R1),
		asm.LoadMem(asm.R0, packet, protocol, asm.Word),
		asm.HostTo(asm.BE, asm.R0, asm.Half),
		asm.JNE.Imm(asm.R0, unix.ETH_P_IP, "next"),
		asm.LoadAbs(networkHeader+daddr, asm.Word),
		asm.Mov.Reg(destination, asm.R0),
	}}
}

// to adds what to do with packets for addresses.
func (r *router) to(addresses netip.Prefix, redirect ...asm.Instruction) {
	label := fmt.Sprint("route", r.routes)
	r.routes++
	r.choose = append(r.choose,
		asm.Mov.Reg(asm.R1, destination),
		asm.RSh.Imm(asm.R1, int32(32-addresses.Bits())),
		asm.LoadImm(asm.R2, number(addresses.Addr())>>(32-addresses.Bits()), asm.DWord),
		asm.JEq.Reg(asm.R1, asm.R2, label))
	redirect[0] = redirect[0].WithSymbol(label)
	r.redirect = append(append(r.redirect, redirect...), asm.Return())
}

func number(a netip.Addr) int64 {
	b := a.As4()
	return int64(binary.BigEndian.Uint32(b[:]))
}

// toPod hands packets to the other end of a pod's device. Out of a tunnel they come with a link address that is nobody's here.
func (r *router) toPod(address netip.Addr, device int) {
	const packetHost = 0
	r.to(host(address),
		asm.Mov.Reg(asm.R1, packet), asm.Mov.Imm(asm.R2, packetHost), asm.FnSkbChangeType.Call(),
		asm.Mov.Imm(asm.R1, int32(device)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirectPeer.Call())
}

// toNeighbour sends packets out of a device, to whom the kernel's route names.
func (r *router) toNeighbour(addresses netip.Prefix, device int) {
	r.to(addresses,
		asm.Mov.Imm(asm.R1, int32(device)), asm.Mov.Imm(asm.R2, 0), asm.Mov.Imm(asm.R3, 0), asm.Mov.Imm(asm.R4, 0), asm.FnRedirectNeigh.Call())
}

// toTunnel sends packets through a tunnel to a node.
func (r *router) toTunnel(addresses netip.Prefix, device int, node netip.Addr) {
	const (
		key         = -8 // a struct bpf_tunnel_key's first two fields, on the stack
		zeroCsumTx  = 2  // BPF_F_ZERO_CSUM_TX
		firstFields = 8
	)
	r.to(addresses,
		asm.StoreImm(asm.RFP, key, vxlanID, asm.Word),
		asm.LoadImm(asm.R1, number(node), asm.DWord), asm.StoreMem(asm.RFP, key+4, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R1, packet), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, key),
		asm.Mov.Imm(asm.R3, firstFields), asm.Mov.Imm(asm.R4, zeroCsumTx), asm.FnSkbSetTunnelKey.Call(),
		asm.Mov.Imm(asm.R1, int32(device)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call())
}

// attach loads the program and attaches it to devices of the calling thread's namespace, for as long as they exist.
func (r *router) attach(name string, at ebpf.AttachType, devices ...int) error {
	const next = -1 // TCX_NEXT, TC_ACT_UNSPEC, NETKIT_NEXT
	instructions := append(asm.Instructions{}, r.choose...)
	instructions = append(instructions, asm.Mov.Imm(asm.R0, next).WithSymbol("next"), asm.Return())
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: append(instructions, r.redirect...),
	})
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	defer program.Close()
	for _, device := range devices {
		err := link.RawAttachProgram(link.RawAttachProgramOptions{Target: device, Program: program, Attach: at})
		if err != nil && at == ebpf.AttachTCXIngress {
			err = addFilter(name, program, device)
		}
		if err != nil {
			return fmt.Errorf("attach %s to device %d: %w", name, device, err)
		}
	}
	return nil
}

// addFilter attaches a program where the kernel has no TCX (before 6.6).
func addFilter(name string, program *ebpf.Program, device int) error {
	err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: device, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: device, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1,
		},
		Fd: program.FD(), Name: name, DirectAction: true,
	})
}
