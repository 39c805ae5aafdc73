package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/loader"
)

// TestCheckNamesFilters has a filter redirect what a device receives to an ifb, as the bandwidth plugin does it: where the
// kernel has no TCX, that is said before there is traffic.
func TestCheckNamesFilters(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.LinkAdd(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "ifb7"}}))
	device, err := netlink.LinkByName("eth0")
	must(err)
	ifb, err := netlink.LinkByName("ifb7")
	must(err)
	must(netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: device.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}))
	must(netlink.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: device.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{netlink.NewMirredAction(ifb.Attrs().Index)},
	}))
	report, err := check(t.TempDir(), []string{"uplink=eth0"})
	must(err)
	for hook, reason := range map[string]string{
		"ingress": "a u32 filter of priority 1 redirects to ifb7 before the hook: packets that it takes are not seen",
		"egress":  "not supported by this kernel: another program's ingress qdisc is there and excludes clsact",
	} {
		said := slices.Contains(report.Omitted, loader.Omission{Hook: hook, Device: "eth0", Reason: reason})
		if said == report.TCX {
			t.Errorf("TCX %t, %s: %+v", report.TCX, hook, report.Omitted)
		}
	}
}

// TestCheckBlindSpots: programs of others at a device are named before there is traffic.
func TestCheckBlindSpots(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := rlimit.RemoveMemlock(); err != nil { // before 5.11 programs count as locked memory
		t.Fatal(err)
	}
	load := func(kind ebpf.ProgramType, verdict int32) *ebpf.Program {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "another", Type: kind, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	want := map[string]string{"ingress": "an XDP program runs here before tc"}
	const pass = 2 // XDP_PASS
	x, err := link.AttachXDP(link.XDPOptions{Program: load(ebpf.XDP, pass), Interface: eth0.Attrs().Index, Flags: link.XDPGenericMode})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	l, err := link.AttachTCX(link.TCXOptions{Program: load(ebpf.SchedCLS, -1), Interface: eth0.Attrs().Index, Attach: ebpf.AttachTCXEgress})
	switch {
	case err == nil:
		defer l.Close()
		want["egress"] = "another's BPF program runs here (another)"
	case !errors.Is(err, ebpf.ErrNotSupported):
		t.Fatal(err)
	}
	report, err := check(t.TempDir(), []string{"uplink=eth0"})
	if err != nil {
		t.Fatal(err)
	}
	for hook, reason := range want {
		if !slices.ContainsFunc(report.Omitted, func(o loader.Omission) bool {
			return o.Hook == hook && o.Device == "eth0" && strings.Contains(o.Reason, reason)
		}) {
			t.Errorf("no %q for %s in %+v", reason, hook, report.Omitted)
		}
	}
}
