package loader

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

// TestMendTCX has others put their programs before ours, and detach ours.
func TestMendTCX(t *testing.T) {
	f := startForwarding(t, true)
	if !f.Features().TCX {
		return // it has the filters that the tests above play with
	}
	theirs, err := link.AttachTCX(link.TCXOptions{
		Interface: f.from.Index, Program: verdict(t, "theirs", 0), Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
	})
	must(t, err)
	defer theirs.Close()
	if seen := f.hooks(); slices.Contains(seen, "ingress") {
		t.Fatalf("it does not hide packets: %v", seen)
	}
	if problem := f.mended()["cali1 ingress"]; !strings.Contains(problem, "TCX program theirs") {
		t.Errorf("mended for %q", problem)
	}
	if got, want := attached(t, f.from, true), []string{kernelNames["ingress"], "theirs", kernelNames["egress"]}; !slices.Equal(got, want) {
		t.Errorf("chain %v, want %v", got, want)
	}

	ours := f.attached[Hook{Program: "egress", Name: "egress", Device: f.to.Name, Ifindex: f.to.Index}].(*tcHook).chain.(*tcxChain).link
	must(t, ours.(interface{ Detach() error }).Detach())
	if seen := f.hooks(); slices.Contains(seen, "egress") {
		t.Fatalf("it is not detached: %v", seen)
	}
	if got, want := f.mended(), map[string]string{"cali2 egress": "its TCX link was detached"}; !reflect.DeepEqual(got, want) {
		t.Errorf("mended %v, want %v", got, want)
	}
	must(t, f.Close())
	if got, want := attached(t, f.from, true), []string{"theirs"}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

// TestMendMovedDevice takes devices away to another namespace and back: the kernel detaches all programs on the way.
func TestMendMovedDevice(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	away, err := netns.New()
	must(t, err)
	defer away.Close()
	must(t, netns.Set(home))
	d := addVeth(t, "cali1", netdev.RolePod)
	l := newLoader(t, t.TempDir())
	tcx := l.Features().TCX
	must(t, l.SetDevices([]netdev.Device{d}, nil))
	want := attached(t, d, tcx)

	must(t, netlink.LinkSetNsFd(deviceOf(d.Index), int(away)))
	if mended, err := l.MendHooks(); err != nil || len(mended) != 0 {
		t.Errorf("while the device is away: mended %v, %v", mended, err)
	}
	if hooks, _ := l.Hooks(); !slices.ContainsFunc(hooks, func(h HookStatus) bool { return h.Device == d.Name && !h.Up && !h.Attached }) {
		t.Errorf("while the device is away: %+v", hooks)
	}
	must(t, netns.Set(away))
	must(t, netlink.LinkSetNsFd(deviceOf(d.Index), int(home)))
	must(t, netns.Set(home))
	for range 2 { // without TCX it waits once
		_, err := l.MendHooks()
		must(t, err)
	}
	if got := attached(t, d, tcx); !slices.Equal(got, want) {
		t.Errorf("after the device came back: %v, want %v", got, want)
	}
}

// TestRefusedByTCX fills a device's TCX chain so that the kernel takes no program more, and empties it again.
func TestRefusedByTCX(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	l := newLoader(t, t.TempDir())
	if !l.Features().TCX {
		return // there is nothing to fall back from
	}
	d := addVeth(t, "cali1", netdev.RolePod)
	var theirs []link.Link
	for {
		one, err := link.AttachTCX(link.TCXOptions{Interface: d.Index, Program: verdict(t, "theirs", -1), Attach: ebpf.AttachTCXIngress})
		if errors.Is(err, unix.ERANGE) {
			break // 63 programs are in the chain
		}
		must(t, err)
		defer one.Close()
		theirs = append(theirs, one)
	}
	must(t, l.SetDevices([]netdev.Device{d}, nil))
	ingress := func() (status HookStatus) {
		hooks, _ := l.Hooks()
		for _, h := range hooks {
			if h.Device == d.Name && h.Name == "ingress" {
				status = h
			}
		}
		return status
	}
	if h := ingress(); h.Up || !h.Attached || !strings.Contains(h.Error, "TCX program theirs") || !strings.Contains(h.Error, fmt.Sprintf("and %d more", len(theirs)-3)) {
		t.Errorf("beside a full chain: %+v", h)
	}
	if got := attached(t, d, false); !slices.Equal(got, []string{"tracer/ingress"}) {
		t.Errorf("filters: %v", got)
	}
	must(t, theirs[7].Close())
	mended, err := l.MendHooks()
	if err != nil || len(mended) != 1 || !ingress().Up {
		t.Errorf("with room again: mended %v, %v; %+v", mended, err, ingress())
	}
	if got := attached(t, d, true); got[0] != kernelNames["ingress"] || len(attached(t, d, false)) != 0 {
		t.Errorf("TCX has %v, and there are the filters %v", got, attached(t, d, false))
	}
	must(t, l.Close())
	if kind := blockQdiscOf(t, d); kind != "" {
		t.Errorf("left: %s", kind)
	}
}
