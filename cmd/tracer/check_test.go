package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"tracer/internal/loader"
)

// TestCheckBlindSpots: programs of others at a device are named before there is traffic.
func TestCheckBlindSpots(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
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
