package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/lab"
	"tracer/internal/record"
)

// layout is a way in which nodes are wired, as docs/layouts.md has it.
type layout struct {
	name string
	// make changes a pair of nodes; errNoSuchKind if the kernel cannot have it.
	make     func(p *pairOfNodes) error
	far, pod string // UDP addresses
	tunnel   bool   // what leaves is encapsulated
	out, in  string // journeys that end; "" if none does
}

const calicoDevice = "cali0123456789a"

var layouts = []layout{
	{name: "pods on a bridge", make: bridged, far: "10.9.0.2:9", pod: "10.9.1.2:9",
		out: "ingress " + calicoDevice + ", egress eth0, xmit eth0", in: "ingress eth0, egress " + calicoDevice + ", xmit " + calicoDevice},
	{name: "pods on a bridge with the uplink in it", make: flat, far: "10.9.0.2:9", pod: "10.9.0.3:9",
		out: "ingress " + calicoDevice + ", egress eth0, xmit eth0", in: "ingress eth0, egress " + calicoDevice + ", xmit " + calicoDevice},
	{name: "pods by netkit", make: byNetkit, far: "10.9.0.2:9", pod: "10.9.1.2:9",
		out: "ingress nk0, egress eth0, xmit eth0", in: "ingress eth0, egress nk0, xmit nk0"},
	{name: "what a pod sends by way of an ifb", make: throughIFB, far: "10.9.0.2:9", pod: "10.9.1.2:9",
		out: "ingress " + calicoDevice + ", egress ifb1, xmit ifb1, egress eth0, xmit eth0", in: "ingress eth0, egress " + calicoDevice + ", xmit " + calicoDevice},
	{name: "redirected to the pod's device", make: redirected, far: "10.9.0.2:9", pod: "10.9.1.2:9",
		out: "ingress " + calicoDevice + ", egress eth0, xmit eth0", in: "ingress eth0, egress " + calicoDevice + ", xmit " + calicoDevice},
	// As Cilium and Calico's eBPF route out of a pod.
	{name: "redirected to the next hop", make: redirectedToNextHop, far: "10.9.0.2:9", pod: "10.9.1.2:9",
		out: "ingress " + calicoDevice + ", egress eth0, xmit eth0", in: "ingress eth0, egress " + calicoDevice + ", xmit " + calicoDevice},
	{name: "redirected into a collect_md tunnel", make: redirectedIntoTunnel, far: "10.8.0.2:9", pod: "10.9.1.2:9", tunnel: true,
		out: "ingress " + calicoDevice + ", egress vxlan9, xmit vxlan9, egress eth0, xmit eth0",
		in:  "ingress eth0, ingress vxlan9, egress " + calicoDevice + ", xmit " + calicoDevice},
	// Such pods have no device on the node: what they send begins at the uplink, what they get ends nowhere.
	{name: "macvlan in the pod", make: onUplink("macvlan mode bridge"), far: "10.9.0.2:9", pod: "10.9.0.3:9", out: "egress eth0, xmit eth0"},
	{name: "ipvlan in the pod, L2", make: onUplink("ipvlan mode l2"), far: "10.9.0.2:9", pod: "10.9.0.3:9", out: "egress eth0, xmit eth0"},
	{name: "ipvlan in the pod, L3", make: onUplink("ipvlan mode l3"), far: "10.9.0.2:9", pod: "10.9.1.2:9", out: "egress eth0, xmit eth0"},
	// The node's own eth0 is what another namespace's uplink carries.
	{name: "the node on a macvlan", make: nodeOnMacvlan, far: "10.9.0.2:9", pod: "10.9.1.2:9",
		out: "ingress " + calicoDevice + ", egress mv0, xmit mv0, egress eth0, xmit eth0", in: "ingress eth0, ingress mv0, egress " + calicoDevice + ", xmit " + calicoDevice},
}

// TestLayouts follows a pod's packets out and in on nodes that are wired in other ways than TestDevices has them. What this
// machine's kernel cannot have an emulated one can.
func TestLayouts(t *testing.T) {
	t.Parallel()
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			p := newPairOfNodes(t)
			p.ip(p.far, "route add 10.9.1.0/24 via 10.9.0.1")
			if err := l.make(p); errors.Is(err, errNoSuchKind) {
				p.mayLack(l.name)
				return
			} else if err != nil {
				t.Fatal(err)
			}
			a, device := p.trace()
			w := wayOut{name: "layout", tunnel: l.tunnel}
			p.follow(a, device, w, "out", p.pod, l.far, l.out)
			if l.in != "" {
				p.follow(a, device, w, "in", p.far, l.pod, l.in)
			} else {
				p.noEnd(a, p.far, l.pod)
			}
		})
	}
}

func (p *pairOfNodes) ips(ns lab.Namespace, commands ...string) error {
	for _, command := range commands {
		if err := ip(ns, command); err != nil {
			return err
		}
	}
	return nil
}

// tc runs tc(8) on the near node.
func (p *pairOfNodes) tc(commands ...string) error {
	for i, command := range commands {
		commands[i] = "tc " + command
	}
	return inNode(p.near, strings.NewReplacer(), commands...)
}

// mayLack fails in an emulated machine whose kernel lacks something that all of them have; only those from 6.7 on have netkit.
func (p *pairOfNodes) mayLack(what string) {
	p.Helper()
	if what != "pods by netkit" {
		p.mustBeHost()
	}
}

// noEnd sends datagrams to a pod, of none of which an end may be seen.
func (p *pairOfNodes) noEnd(a *Agent, from lab.Namespace, to string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 3*time.Second)
	defer cancel()
	records, _ := a.Subscribe(ctx, func(r *record.Record) bool { return r.First.Destination.String() == to })
	err := from.Do(func() error {
		conn, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		for range 5 {
			_, _ = conn.Write([]byte("a datagram"))
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	if err != nil {
		p.Fatal(err)
	}
	for r := range records {
		if r.Kind == record.Finished {
			p.Errorf("%v: docs/layouts.md says that such journeys have no end", r.Passed())
		}
	}
}

func bridged(p *pairOfNodes) error {
	return p.ips(p.near, "addr flush dev "+calicoDevice, "link add cni0 type bridge", "link set "+calicoDevice+" master cni0",
		"addr add 10.9.1.1/24 dev cni0", "link set cni0 up")
}

func flat(p *pairOfNodes) error {
	return errors.Join(
		p.ips(p.near, "addr flush dev "+calicoDevice, "addr flush dev eth0", "link add br0 type bridge", "link set "+calicoDevice+" master br0",
			"link set eth0 master br0", "addr add 10.9.0.1/24 dev br0", "link set br0 up"),
		p.ips(p.pod, "addr flush dev eth0", "addr add 10.9.0.3/24 dev eth0"))
}

func byNetkit(p *pairOfNodes) error {
	if err := p.ips(p.near, "link del "+calicoDevice); err != nil {
		return err
	}
	err := p.near.Do(func() error {
		pod, err := netns.GetFromPath(p.pod.Path())
		if err != nil {
			return err
		}
		defer pod.Close()
		peer := netlink.NewLinkAttrs()
		peer.Name, peer.Namespace = "eth0", netlink.NsFd(pod)
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "nk0"
		device := &netlink.Netkit{LinkAttrs: attrs, Mode: netlink.NETKIT_MODE_L2, Policy: netlink.NETKIT_POLICY_FORWARD, PeerPolicy: netlink.NETKIT_POLICY_FORWARD}
		device.SetPeerAttrs(&peer)
		if err := netlink.LinkAdd(device); errors.Is(err, unix.EOPNOTSUPP) {
			return errNoSuchKind
		} else if err != nil {
			return fmt.Errorf("add a netkit: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(
		p.ips(p.near, "addr add 10.9.1.1/32 dev nk0", "link set nk0 up", "route add 10.9.1.2 dev nk0"),
		p.ips(p.pod, "addr add 10.9.1.2/32 dev eth0", "link set eth0 up", "route add default via 10.9.1.1 dev eth0 onlink"))
}

// throughIFB is what the bandwidth plugin does to what a pod sends.
func throughIFB(p *pairOfNodes) error {
	if err := p.ips(p.near, "link add ifb1 type ifb", "link set ifb1 up"); err != nil {
		return err
	}
	return p.tc("qdisc add dev ifb1 root tbf rate 10mbit burst 32kb latency 100ms",
		"qdisc add dev "+calicoDevice+" clsact",
		"filter add dev "+calicoDevice+" ingress prio 10 matchall action mirred egress redirect dev ifb1")
}

// redirected is what a CNI's program does with bpf_redirect(), which tc's mirred does as well.
func redirected(p *pairOfNodes) error {
	if err := p.ips(p.pod, "neigh replace 10.9.1.1 lladdr 02:00:00:00:09:aa dev eth0", "link set eth0 address 02:00:00:00:09:01"); err != nil {
		return err
	}
	return p.tc("qdisc add dev eth0 clsact",
		"filter add dev eth0 ingress prio 10 protocol ip flower dst_ip 10.9.1.2 action mirred egress redirect dev "+calicoDevice)
}

// redirectedToNextHop is bpf_redirect_neigh(): past the node's routing, to the neighbour that it would go to.
func redirectedToNextHop(p *pairOfNodes) error {
	return p.program(netip.MustParseAddr("10.9.0.2"), "eth0", asm.Instructions{
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRedirectNeigh.Call(),
		asm.Return(),
	})
}

// redirectedIntoTunnel has a VXLAN without addresses, which it takes from what the program gives each packet.
func redirectedIntoTunnel(p *pairOfNodes) error {
	err := errors.Join(
		p.ips(p.near, "link set "+calicoDevice+" address 02:00:00:00:09:aa", "link add vxlan9 address 02:00:00:00:09:11 type vxlan external dstport 4789",
			"link set vxlan9 up", "route add 10.8.0.2 dev vxlan9"),
		p.ips(p.far, "link add vxlan9 address 02:00:00:00:09:aa type vxlan id 9 dev eth0 local 10.9.0.2 remote 10.9.0.1 dstport 4789",
			"addr add 10.8.0.2/32 dev vxlan9", "link set vxlan9 up", "route add 10.9.1.2 dev vxlan9 src 10.8.0.2",
			"neigh replace 10.9.1.2 lladdr 02:00:00:00:09:11 dev vxlan9"))
	if err != nil {
		return err
	}
	const sizeOfKey, zeroChecksum = 8, 2 // bpf_tunnel_key up to remote_ipv4; BPF_F_ZERO_CSUM_TX
	return p.program(netip.MustParseAddr("10.8.0.2"), "vxlan9", asm.Instructions{
		asm.Mov.Reg(asm.R7, asm.R1),
		asm.Mov.Imm(asm.R1, 9),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.Word),
		asm.Mov.Imm32(asm.R1, hostOrder(netip.MustParseAddr("10.9.0.2"))),
		asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -sizeOfKey),
		asm.Mov.Imm(asm.R3, sizeOfKey),
		asm.Mov.Imm(asm.R4, zeroChecksum),
		asm.FnSkbSetTunnelKey.Call(),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	})
}

// program does something with the packets that the pod sends to an address. R1 is a device of the near node, and R6 the packet.
func (p *pairOfNodes) program(to netip.Addr, device string, do asm.Instructions) error {
	if err := p.tc("qdisc add dev " + calicoDevice + " clsact"); err != nil { // for filters, where there is no TCX
		return err
	}
	var index int32
	err := p.near.Do(func() error {
		d, err := net.InterfaceByName(device)
		if err == nil {
			index = int32(d.Index)
		}
		return err
	})
	if err != nil {
		return err
	}
	p.Cleanup(attachForeign(p.T, p.near, calicoDevice, "ingress", false, forAddress(to, append(asm.Instructions{asm.Mov.Imm(asm.R1, index)}, do...))))
	return nil
}

func onUplink(kind string) func(p *pairOfNodes) error {
	return func(p *pairOfNodes) error {
		err := p.ips(p.near, "link del "+calicoDevice, "link add pod0 link eth0 type "+kind)
		if err != nil {
			return err
		}
		if kind == "ipvlan mode l3" {
			return errors.Join(p.ips(p.near, "link set pod0 netns "+string(p.pod)+" name eth0"),
				p.ips(p.pod, "addr add 10.9.1.2/32 dev eth0", "link set eth0 up", "route add default dev eth0"))
		}
		return errors.Join(p.ips(p.near, "link set pod0 netns "+string(p.pod)+" name eth0"),
			p.ips(p.pod, "addr add 10.9.0.3/24 dev eth0", "link set eth0 up"))
	}
}

func nodeOnMacvlan(p *pairOfNodes) error {
	if err := p.ips(p.near, "link add mv0 link eth0 type macvlan mode bridge"); err != nil {
		return err
	}
	return p.ips(p.near, "addr flush dev eth0", "addr add 192.0.2.1/24 dev eth0", "addr add 10.9.0.1/24 dev mv0", "link set mv0 up")
}
