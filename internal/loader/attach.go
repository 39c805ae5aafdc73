package loader

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Our filters on kernels without TCX: first in their chain, and told from anybody else's by handle and name.
const (
	filterPriority = 1
	filterHandle   = 0x74726163 // "trac"
	filterPrefix   = "tracer/"
)

// attachTracepoint attaches a program to its tracepoint. The kernel takes it away with the process.
func attachTracepoint(h Hook, program *ebpf.Program) (io.Closer, error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return nil, fmt.Errorf("attach to tracepoint %s: %w", h.Name, err)
	}
	return l, nil
}

// attachTCX attaches in front of all others: behind a program that redirects, packets are not seen any more. The
// kernel takes it away with the process.
func attachTCX(h Hook, program *ebpf.Program) (io.Closer, error) {
	direction := ebpf.AttachTCXIngress
	if h.Name == "egress" {
		direction = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: h.Ifindex, Program: program, Attach: direction, Anchor: link.Head()})
	if err != nil {
		return nil, fmt.Errorf("attach to %s %s: %w", h.Device, h.Name, err)
	}
	return l, nil
}

// filter is one of ours behind a clsact or ingress qdisc. It stays after a SIGKILL, until it is swept.
type filter struct{ bpf *netlink.BpfFilter }

func (f filter) Close() error {
	// Deleted together with its device, or by the one who replaced the qdisc: nothing of ours is left.
	if err := netlink.FilterDel(f.bpf); err != nil && !gone(err) {
		return fmt.Errorf("delete filter %s: %w", f.bpf.Name, err)
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

// attachFilter attaches a program with direct action behind the clsact qdisc of a device. Where there is none it makes
// one, and notes that before: a note of what was never made does no harm. Where someone else's ingress qdisc stands,
// which excludes clsact, it is used, and an egress hook is refused.
func attachFilter(h Hook, program *ebpf.Program, note func() error) (io.Closer, error) {
	parent, err := blockQdisc(h.Ifindex)
	if err != nil {
		return nil, fmt.Errorf("attach to %s %s: %w", h.Device, h.Name, err)
	}
	switch {
	case parent == "ingress" && h.Name == "egress":
		return nil, fmt.Errorf("attach to %s egress: %w: another program's ingress qdisc is there and excludes "+
			"clsact", h.Device, errUnsupported)
	case parent == "":
		if err := note(); err != nil {
			return nil, err
		}
		err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: h.Ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("attach to %s %s: add clsact: %w", h.Device, h.Name, err)
		}
	}
	f := filter{&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: h.Ifindex, Parent: filterParent(h.Name), Handle: filterHandle, Protocol: unix.ETH_P_ALL,
			Priority: filterPriority,
		},
		Fd: program.FD(), Name: filterPrefix + h.Program, DirectAction: true,
	}}
	if err := netlink.FilterReplace(f.bpf); err != nil {
		return nil, fmt.Errorf("attach to %s %s: %w", h.Device, h.Name, err)
	}
	return f, nil
}

func filterParent(direction string) uint32 {
	if direction == "egress" {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// directions are those in which a qdisc of that kind holds filters. An ingress qdisc shows its own for both.
func directions(kind string) []string {
	return map[string][]string{"clsact": {"ingress", "egress"}, "ingress": {"ingress"}}[kind]
}

// blockQdisc is the kind of the qdisc that holds a device's ingress filters: "clsact", "ingress", or "".
func blockQdisc(ifindex int) (string, error) {
	qdiscs, err := netlink.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: ifindex}})
	if err != nil {
		return "", fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		if kind := q.Type(); kind == "clsact" || kind == "ingress" {
			return kind, nil
		}
	}
	return "", nil
}
