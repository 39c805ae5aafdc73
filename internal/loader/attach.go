package loader

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

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
		return nil, fmt.Errorf("attach to %s egress: %w: somebody's ingress qdisc stands there and excludes "+
			"clsact", h.Device, ErrUnsupported)
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

// Sweep deletes what a tracer that was killed left behind in the current network namespace: its filters, its clsact
// qdiscs if nobody else uses them by now, and its socket. It must run under the namespace's lock. It reports what it
// deleted.
func Sweep(files Files) (removed []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	made, err := files.qdiscs()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		kind, err := blockQdisc(l.Attrs().Index)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", name, err))
			continue
		}
		foreign := false
		for _, direction := range directions(kind) {
			filters, err := netlink.FilterList(l, filterParent(direction))
			if err != nil {
				errs = append(errs, fmt.Errorf("list filters of %s: %w", name, err))
				continue
			}
			for _, f := range filters {
				b, ok := f.(*netlink.BpfFilter)
				if !ok || b.Handle != filterHandle || !strings.HasPrefix(b.Name, filterPrefix) {
					foreign = true
					continue
				}
				if err := (filter{b}).Close(); err != nil {
					errs = append(errs, err)
					continue
				}
				removed = append(removed, fmt.Sprintf("filter %s on %s %s", b.Name, name, direction))
			}
		}
		if made[l.Attrs().Index] == "" || foreign || kind != "clsact" {
			continue
		}
		err = netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}})
		if err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("delete clsact of %s: %w", name, err))
			continue
		}
		removed = append(removed, "qdisc clsact on "+name)
	}
	if len(errs) == 0 {
		errs = append(errs, files.setQdiscs(nil))
	}
	if _, err := os.Lstat(files.Socket()); err == nil {
		removed = append(removed, files.Socket())
	}
	errs = append(errs, files.RemoveSocket())
	return removed, errors.Join(errs...)
}

// Up tells whether a tracepoint's hook is attached.
func (l *Loader) Up(tracepoint string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h := range l.attached {
		if h.Ifindex == 0 && h.Name == tracepoint {
			return true
		}
	}
	return false
}

// isPermission tells whether an error is the kernel's refusal of an unprivileged caller.
func isPermission(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EPERM)
}
