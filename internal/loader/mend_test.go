package loader

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

// TestMendFilters has others delete our filters and qdiscs and put theirs in front, on a kernel without TCX.
func TestMendFilters(t *testing.T) {
	f := startForwarding(t, false)
	if seen := f.hooks(); !slices.Equal(seen, allHooks) {
		t.Fatalf("at first a packet passes %v", seen)
	}
	expect := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}

	t.Log("a bpf filter that ends the chain comes at our priority, or at the one before it")
	for _, priority := range []uint16{filterPriority, 1} {
		theirs := foreignBPF(t, attrs(f.from, "ingress", priority, unix.ETH_P_ALL))
		if seen := f.hooks(); slices.Contains(seen, "ingress") {
			t.Fatalf("priority %d: it does not hide packets: %v", priority, seen)
		}
		if problem := f.mended()["cali1 ingress"]; !strings.Contains(problem, "a bpf filter of priority") || !strings.Contains(problem, "theirs") {
			t.Errorf("priority %d: mended for %q", priority, problem)
		}
		expect("chain", f.chainOf(f.from, "ingress"), []string{"tracer/ingress", "theirs"})
		must(t, netlink.FilterDel(theirs))
		f.mended()
		expect("chain without theirs", f.chainOf(f.from, "ingress"), []string{"tracer/ingress"})
	}
	// Priority 1 was given back: others get it.
	must(t, netlink.FilterDel(toIFB(t, attrs(f.from, "ingress", 1, unix.ETH_P_ALL))))

	t.Log("all filters of a device are deleted")
	for _, direction := range []string{"ingress", "egress"} {
		flush(t, f.to, direction)
	}
	flush(t, f.from, "ingress")
	if seen := f.hooks(); len(seen) != 0 {
		t.Fatalf("without filters a packet passes %v", seen)
	}
	problems := f.mended()
	for _, hook := range []string{"cali1 ingress", "cali2 ingress", "cali2 egress"} {
		expect(hook, problems[hook], "its filter was deleted")
	}
	expect("mended", len(problems), 3)

	t.Log("a qdisc is deleted: it stays away for a while, in case that somebody adds an ingress qdisc")
	must(t, netlink.QdiscDel(clsact(f.to.Index)))
	if mended, err := f.MendHooks(); err != nil || len(mended) != 0 {
		t.Errorf("at once: %v, %v", mended, err)
	}
	expect("down", f.down(), []string{"cali2 egress: its qdisc was deleted", "cali2 ingress: its qdisc was deleted"})
	expect("mended", f.mended(), map[string]string{"cali2 egress": "its qdisc was deleted", "cali2 ingress": "its qdisc was deleted"})

	t.Log("a qdisc is deleted and made again, with a filter")
	must(t, netlink.QdiscDel(clsact(f.from.Index)))
	must(t, netlink.QdiscAdd(clsact(f.from.Index)))
	foreignBPF(t, attrs(f.from, "ingress", 1, unix.ETH_P_ALL))
	f.mended()
	expect("chain", f.chainOf(f.from, "ingress"), []string{"tracer/ingress", "theirs"})

	must(t, f.Close())
	expect("left of the qdisc that they made", f.chainOf(f.from, "ingress"), []string{"theirs"})
	expect("left of the qdisc that we made", blockQdiscOf(t, f.to), "")
}

// TestMendBesideOthers leaves to others what they hold, and says what is not seen for it.
func TestMendBesideOthers(t *testing.T) {
	f := startForwarding(t, false)
	const problem = "a u32 filter of priority 1 redirects to ifb7 before the hook: packets that it takes are not seen"
	for _, direction := range []string{"ingress", "egress"} {
		d := f.from
		if direction == "egress" {
			d = f.to
		}
		theirs := toIFB(t, attrs(d, direction, 1, unix.ETH_P_ALL))
		if mended, err := f.MendHooks(); err != nil || len(mended) != 0 {
			t.Errorf("%s: mended %v, %v", direction, mended, err)
		}
		if got, want := f.down(), []string{d.Name + " " + direction + ": " + problem}; !slices.Equal(got, want) {
			t.Errorf("down: %q, want %q", got, want)
		}
		hooks, omitted := f.Hooks()
		if !slices.Contains(omitted, Omission{Hook: direction, Device: d.Name, Reason: problem}) {
			t.Errorf("omitted: %v", omitted)
		}
		if !slices.ContainsFunc(hooks, func(h HookStatus) bool { return !h.Up && h.Attached }) {
			t.Errorf("no hook is attached and behind: %+v", hooks)
		}
		found, err := Obstacles(f.features, []Hook{{Name: "ingress", Device: d.Name, Ifindex: d.Index}, {Name: "egress", Device: d.Name, Ifindex: d.Index}})
		if err != nil || !slices.Equal(found, []Omission{{Hook: direction, Device: d.Name, Reason: problem}}) {
			t.Errorf("obstacles: %v, %v", found, err)
		}
		if seen := f.hooks(); slices.Contains(seen, direction) {
			t.Errorf("behind the redirection a packet passes %v", seen)
		}
		must(t, netlink.FilterDel(theirs))
		if got := f.mended(); len(got) != 0 {
			t.Errorf("something was attached again: %v", got)
		}
	}

	t.Log("an ingress qdisc with the redirection takes our qdisc's place, then goes")
	must(t, netlink.QdiscDel(clsact(f.from.Index)))
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: f.from.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	must(t, netlink.QdiscAdd(ingress))
	toIFB(t, attrs(f.from, "ingress", 1, unix.ETH_P_ALL))
	if _, err := f.MendHooks(); err != nil {
		t.Fatal(err)
	}
	if got, want := f.chainOf(f.from, "ingress"), []string{"u32", "tracer/ingress"}; !slices.Equal(got, want) {
		t.Errorf("chain %v, want %v", got, want)
	}
	if got, want := f.down(), []string{"cali1 egress: " + errIngressQdisc.Error(), "cali1 ingress: " + problem}; !slices.Equal(got, want) {
		t.Errorf("down: %q, want %q", got, want)
	}
	must(t, netlink.QdiscDel(ingress))
	f.mended()

	t.Log("a filter of another protocol than a traced packet's is in nobody's way; one of IP is")
	toIFB(t, attrs(f.from, "ingress", 1, unix.ETH_P_ARP))
	if _, err := f.MendHooks(); err != nil || len(f.down()) != 0 {
		t.Errorf("beside a filter of ARP: %v, %q", err, f.down())
	}
	foreignBPF(t, attrs(f.to, "egress", 1, unix.ETH_P_IP))
	if _, err := f.MendHooks(); err != nil || len(f.down()) != 1 || !strings.Contains(f.down()[0], "a bpf filter of priority 1 (theirs) for protocol ip runs") {
		t.Errorf("behind a filter of IP: %v, %q", err, f.down())
	}
	must(t, f.Close())
	for d, want := range map[*netdev.Device]string{&f.from: "u32", &f.to: "theirs"} {
		left := append(f.chainOf(*d, "ingress"), f.chainOf(*d, "egress")...)
		if !slices.Equal(left, []string{want}) {
			t.Errorf("left on %s: %v, want %s", d.Name, left, want)
		}
		if chains, err := netlink.ChainList(deviceOf(d.Index), filterParent("ingress")); err != nil ||
			slices.ContainsFunc(chains, func(c netlink.Chain) bool { return c.Chain == markerChain }) {
			t.Errorf("our mark is left on %s: %v, %v", d.Name, chains, err)
		}
	}
}

// flush is tc filter del dev X DIRECTION.
func flush(t *testing.T, d netdev.Device, direction string) {
	t.Helper()
	r := nl.NewNetlinkRequest(unix.RTM_DELTFILTER, unix.NLM_F_ACK)
	r.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(d.Index), Parent: filterParent(direction)})
	_, err := r.Execute(unix.NETLINK_ROUTE, 0)
	must(t, err)
}

// BenchmarkMendHooks looks at the hooks of 250 pods, of which nobody has touched one.
func BenchmarkMendHooks(b *testing.B) {
	for _, tcx := range []bool{true, false} {
		b.Run(map[bool]string{true: "tcx", false: "clsact"}[tcx], func(b *testing.B) {
			inNamespace(b)
			l := newLoader(b, b.TempDir())
			if tcx && !l.features.TCX {
				return
			}
			l.features.TCX = tcx
			var devices []netdev.Device
			for i := range 250 {
				devices = append(devices, addVeth(b, fmt.Sprintf("cali%d", i), netdev.RolePod))
			}
			if err := l.SetDevices(devices, nil); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if mended, err := l.MendHooks(); err != nil || len(mended) != 0 {
					b.Fatal(mended, err)
				}
			}
		})
	}
}
