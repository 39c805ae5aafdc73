package loader

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
)

// TestRefusedProgram has a kernel that refuses one program: the other hooks are there, that one says why it is not, and
// comes once it is accepted.
func TestRefusedProgram(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	broken := true
	l, err := New(Options{Dir: t.TempDir(), Kernel: &ofAllTests, edit: func(spec *ebpf.CollectionSpec) {
		standIns(spec)
		if broken {
			spec.Programs[bpfobj.TracerProgTracerEgress].Instructions = asm.Instructions{asm.Return()} // of nothing
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.objects.hooks["ingress"] != nil {
		t.Error("a program was loaded that no hook needs yet")
	}
	devices := []netdev.Device{addVeth(t, "cali1", netdev.RolePod), addVeth(t, "eth0", netdev.RoleUplink)}
	missing := func() (names []string) {
		if err := l.SetDevices(devices, nil); err != nil {
			t.Fatal(err)
		}
		for h, err := range l.failed {
			names = append(names, h.Device+" "+h.Name)
			if _, ok := errors.AsType[*ebpf.VerifierError](err); !ok {
				t.Errorf("%s of %s: %v, want the verifier's word", h.Name, h.Device, err)
			}
		}
		if _, err := l.Programs(); err != nil {
			t.Error(err)
		}
		slices.Sort(names)
		return names
	}
	if got, want := missing(), []string{"cali1 egress", "eth0 egress"}; !slices.Equal(got, want) {
		t.Errorf("%q are missing, want %q", got, want)
	}
	broken = false
	if got := missing(); len(got) != 0 {
		t.Errorf("%q are missing", got)
	}
}

// TestKernelNames checks that programs and maps carry the tool's name in the kernel, which cuts names after 15 characters,
// and that each hook's program has one.
func TestKernelNames(t *testing.T) {
	t.Parallel()
	spec, err := bpfobj.LoadTracer()
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string) {
		t.Helper()
		if !strings.HasPrefix(name, "tracer_") || len(name) > 15 {
			t.Errorf("%q is the name of something in the kernel", name)
		}
	}
	known := map[string]bool{bpfobj.TracerProgTracerListener: true, bpfobj.TracerProgTracerHeld: true}
	for program, name := range kernelNames {
		known[name] = true
		if spec.Programs[name] == nil {
			t.Errorf("%s is %s in the kernel, and that is no program", program, name)
		}
	}
	for name, tracepoint := range capturePrograms {
		known[name] = true
		if p := spec.Programs[name]; p == nil || p.AttachTo != tracepoint {
			t.Errorf("%s is no program at %s", name, tracepoint)
		}
	}
	for name := range spec.Programs {
		check(name)
		if !known[name] {
			t.Errorf("%s is the program of no hook", name)
		}
	}
	for name := range spec.Maps {
		if name != inflightSection && name != settingsSection && name != devicesSection && name != ownSection && name != captureSection {
			check(name)
		}
	}
	all := []string{}
	for _, point := range tracepoints {
		all = append(all, point.program)
	}
	all = append(all, "ingress", "egress")
	for _, program := range all {
		if kernelNames[program] == "" {
			t.Errorf("the program %s has no name in the kernel", program)
		}
	}
}

// TestPreallocated wants all of the maps' memory taken when they are made: none is allocated on a packet's way, where that could fail.
func TestPreallocated(t *testing.T) {
	t.Parallel()
	spec, err := bpfobj.LoadTracer()
	if err != nil {
		t.Fatal(err)
	}
	whole := []ebpf.MapType{ebpf.Array, ebpf.PerCPUArray, ebpf.RingBuf, ebpf.Hash} // but for a hash that says otherwise
	for name, m := range spec.Maps {
		if !slices.Contains(whole, m.Type) || m.Flags&unix.BPF_F_NO_PREALLOC != 0 {
			t.Errorf("%s is a %v with flags %#x", name, m.Type, m.Flags)
		}
	}
}
