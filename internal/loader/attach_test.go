package loader

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"tracer/internal/netdev"
	"tracer/test/steady"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inNamespace runs the test on a thread in a network namespace of its own, which ends with it.
func inNamespace(t testing.TB) {
	t.Helper()
	steady.Watch(t)
	runtime.LockOSThread() // and never unlocked: the thread, which is in the namespace, ends with the test
	handle, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
}

// addVeth makes a pair of veths and returns the first as a device with a role.
func addVeth(t testing.TB, name string, role netdev.Role) netdev.Device {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return netdev.Device{Index: l.Attrs().Index, Name: name, Role: role, Ethernet: true, Leaves: true}
}

// standIns does nothing under our programs' names: where it matters how they are attached and not what they do, they
// need not be verified, which takes an emulated machine seconds.
func standIns(spec *ebpf.CollectionSpec) {
	for _, p := range spec.Programs {
		verdict := int32(0)
		if p.Type == ebpf.SchedCLS {
			verdict = -1
		}
		p.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()}
	}
}

func newLoader(t testing.TB, dir string) *Loader {
	t.Helper()
	l, err := New(Options{Dir: dir, Kernel: &ofAllTests, edit: standIns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// attached are the BPF programs on both ways of a device, however they are attached.
func attached(t *testing.T, d netdev.Device, tcx bool) (names []string) {
	t.Helper()
	if tcx {
		for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			result, err := link.QueryPrograms(link.QueryOptions{Target: d.Index, Attach: at})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range result.Programs {
				program, err := ebpf.NewProgramFromID(p.ID)
				if err != nil {
					t.Fatal(err)
				}
				info, err := program.Info()
				program.Close()
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, info.Name)
			}
		}
		return names
	}
	for _, direction := range directions(blockQdiscOf(t, d)) {
		filters, err := netlink.FilterList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: d.Index}}, filterParent(direction))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); ok {
				names = append(names, b.Name)
			}
		}
	}
	return names
}

func TestAttach(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	l, err := New(Options{Dir: t.TempDir(), Kernel: &ofAllTests}) // the programs themselves
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcx := l.Features().TCX
	pod, uplink := addVeth(t, "cali1", netdev.RolePod), addVeth(t, "eth0", netdev.RoleUplink)
	if err := l.SetDevices([]netdev.Device{pod, uplink}, nil); err != nil {
		t.Fatal(err)
	}
	// A filter has our name for the program, which in the kernel has its own.
	names := func(programs ...string) (names []string) {
		for _, p := range programs {
			if tcx {
				names = append(names, kernelNames[p])
			} else {
				names = append(names, filterPrefix+p)
			}
		}
		return names
	}
	if got, want := attached(t, pod, tcx), names("ingress", "egress"); !slices.Equal(got, want) {
		t.Errorf("on the pod's device: %v, want %v", got, want)
	}
	// The pod goes, the uplink becomes something that others lie under.
	uplink.Leaves = false
	if err := l.SetDevices([]netdev.Device{uplink}, nil); err != nil {
		t.Fatal(err)
	}
	if got := attached(t, pod, tcx); len(got) != 0 {
		t.Errorf("on a device that is not traced any more: %v", got)
	}
	if got, want := attached(t, uplink, tcx), names("ingress", "egress"); !slices.Equal(got, want) {
		t.Errorf("on the uplink: %v, want %v", got, want)
	}
	// No pod's: those are left alone at first where there is no TCX.
	gone := netdev.Device{Index: 9999, Name: "gone", Role: netdev.RoleUplink, Ethernet: true, Leaves: true}
	if err := l.SetDevices([]netdev.Device{uplink, gone}, nil); err != nil {
		t.Fatalf("a device that went away meanwhile: %v", err)
	}
	failed := 0
	hooks, _ := l.Hooks()
	for _, h := range hooks {
		if !h.Up {
			failed++
			if h.Device != "gone" || !strings.Contains(h.Error, "attach to gone") {
				t.Errorf("failed hook %+v", h)
			}
		}
	}
	if failed != 2 {
		t.Errorf("%d hooks are reported as failed, want both of the device that is gone", failed)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := attached(t, uplink, tcx); len(got) != 0 {
		t.Errorf("after the end: %v", got)
	}
}

// TestFilters attaches as on a kernel without TCX, dies, and is swept.
func TestFilters(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	dir := t.TempDir()
	mine, shared := addVeth(t, "cali1", netdev.RolePod), addVeth(t, "cali2", netdev.RolePod)
	// Somebody else's clsact, with a filter.
	foreign := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: shared.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(foreign); err != nil {
		t.Fatal(err)
	}
	l := newLoader(t, dir)
	l.features.TCX = false
	if err := l.SetDevices([]netdev.Device{mine, shared}, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"tracer/ingress", "tracer/egress"}
	for _, d := range []netdev.Device{mine, shared} {
		if got := attached(t, d, false); !slices.Equal(got, want) {
			t.Fatalf("on %s: %v, want %v", d.Name, got, want)
		}
	}
	if removed, err := Sweep(Files{Dir: t.TempDir(), Netns: l.files.Netns}); err != nil || len(removed) != 4 {
		t.Errorf("sweeping without the note removed %v, %v; want the four filters and no qdisc", removed, err)
	}
	if got := blockQdiscOf(t, mine); got != "clsact" {
		t.Errorf("our qdisc went without the note: %q", got)
	}
	removed, err := Sweep(l.files)
	if err != nil || !slices.Equal(removed, []string{"qdisc clsact on cali1"}) {
		t.Errorf("sweeping removed %v, %v; want our qdisc", removed, err)
	}
	if got := blockQdiscOf(t, shared); got != "clsact" {
		t.Errorf("somebody's qdisc is now %q", got)
	}
	if _, err := os.Stat(l.files.path(".qdiscs.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note is left: %v", err)
	}
}

// TestFiltersClose ends in order.
func TestFiltersClose(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	d := addVeth(t, "cali1", netdev.RolePod)
	l := newLoader(t, t.TempDir())
	l.features.TCX = false
	if err := l.SetDevices([]netdev.Device{d}, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := blockQdiscOf(t, d); got != "" || len(attached(t, d, false)) != 0 {
		t.Errorf("left behind: qdisc %q, filters %v", got, attached(t, d, false))
	}
}

// TestBesideIngress uses somebody's ingress qdisc and leaves it alone.
func TestBesideIngress(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	d := addVeth(t, "cali1", netdev.RolePod)
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: d.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	if err := netlink.QdiscAdd(ingress); err != nil {
		t.Fatal(err)
	}
	// As the bandwidth plugin does it.
	toIFB(t, attrs(d, "ingress", 1, unix.ETH_P_ALL))
	l := newLoader(t, t.TempDir())
	l.features.TCX = false
	if err := l.SetDevices([]netdev.Device{d}, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := attached(t, d, false), []string{"tracer/ingress"}; !slices.Equal(got, want) {
		t.Errorf("attached %v, want %v", got, want)
	}
	hooks, _ := l.Hooks()
	if !slices.ContainsFunc(hooks, func(h HookStatus) bool {
		return h.Name == "egress" && !h.Up && strings.Contains(h.Error, "excludes clsact")
	}) {
		t.Errorf("the missing egress hook is not explained: %+v", hooks)
	}
	if !slices.ContainsFunc(hooks, func(h HookStatus) bool {
		return h.Name == "ingress" && h.Device == d.Name && !h.Up && h.Attached && strings.Contains(h.Error, "redirects to ifb7 before the hook")
	}) {
		t.Errorf("what runs before the ingress hook is not told: %+v", hooks)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := blockQdiscOf(t, d); got != "ingress" {
		t.Errorf("somebody's ingress qdisc is now %q", got)
	}
	if got := attached(t, d, false); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func blockQdiscOf(t *testing.T, d netdev.Device) string {
	t.Helper()
	var tc tcReader
	defer tc.Close()
	kind, err := tc.qdisc(d.Index)
	if err != nil {
		t.Fatal(err)
	}
	return kind
}

func TestLock(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	dir := filepath.Join(t.TempDir(), "run")
	l := newLoader(t, dir)
	if !l.Files().Locked() {
		t.Error("the namespace does not count as locked")
	}
	if second, err := New(Options{Dir: dir, Kernel: &ofAllTests, edit: standIns}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second loader: %v, want ErrLocked", err)
		second.Close()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l.Files().Locked() {
		t.Error("the lock outlives its holder")
	}
	third := newLoader(t, dir)
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}
