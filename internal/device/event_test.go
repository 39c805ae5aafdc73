package device

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tracer/internal/netdev"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestEvents checks what is reported of a tunnel's and an uplink's changes, and that pods' are not.
func TestEvents(t *testing.T) {
	t.Parallel()
	other := enterNamespace(t)
	uplink := addVeth(t, "eth0", other)
	addAddress(t, uplink, "10.9.0.1/24")
	addVeth(t, "cali0123456789a", other)
	w := newWatcher(t, nil)
	states := watch(t, w)
	await(t, states, "the start", func(s State) bool { return named(s, "eth0").Role == netdev.RoleUplink })

	vxlan := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx0", MTU: 1400}, VxlanId: 9, Port: 4789}
	addLink(t, vxlan)
	await(t, states, "vx0", func(s State) bool { return named(s, "vx0").Role == netdev.RoleOverlay })
	try(t, netlink.LinkSetUp(vxlan))
	try(t, netlink.LinkSetDown(vxlan))
	try(t, netlink.LinkSetUp(vxlan)) // so soon that no read sees it down
	try(t, netlink.LinkSetMTU(vxlan, 1300))
	addTBF(t, vxlan.Index, 0x10000, netlink.HANDLE_ROOT)
	_, destination, _ := net.ParseCIDR("10.2.0.0/16")
	blackhole := &netlink.Route{Dst: destination, Type: unix.RTN_BLACKHOLE}
	try(t, netlink.RouteAdd(blackhole))
	try(t, netlink.RouteDel(blackhole))
	pod, err := netlink.LinkByName("cali0123456789a")
	try(t, err)
	try(t, netlink.LinkSetDown(pod))
	try(t, netlink.LinkDel(vxlan))
	await(t, states, "vx0 deleted", func(s State) bool { return named(s, "vx0").Name == "" })

	want := []string{
		"link vx0 came up", "link vx0 went down", "link vx0 came up",
		"route  blackhole route 10.2.0.0/16 added", "route  blackhole route 10.2.0.0/16 removed",
	}
	for _, e := range w.Events() {
		line := fmt.Sprintf("%s %s %s", e.Kind, e.Device, e.Text)
		if len(want) > 0 && line == want[0] {
			want = want[1:]
		}
		if strings.Contains(line, "cali") {
			t.Errorf("a pod's event is kept: %s", line)
		}
	}
	if len(want) > 0 {
		t.Errorf("no event %q in %+v", want, w.Events())
	}
	if last := w.Events(); !slices.ContainsFunc(last, func(e netdev.Event) bool { return e.Device == "vx0" && e.Down && e.Kind == netdev.LinkEvent }) {
		t.Errorf("vx0 is not told to be gone: %+v", last)
	}
}

// TestEventsByReading checks what no announcement tells: from what to what a queue or an MTU changed.
func TestEventsByReading(t *testing.T) {
	t.Parallel()
	device := func(mtu int, root netdev.Qdisc) State {
		return State{Devices: []netdev.Device{{Index: 2, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, MTU: mtu, Root: root}}}
	}
	var e events
	at := time.Date(2026, 3, 4, 14, 2, 11, 0, time.UTC)
	first := device(1480, netdev.Qdisc{Kind: "noqueue"})
	e.compare(State{}, first, at)
	second := device(1480, netdev.Qdisc{Kind: "netem", Handle: "1:", Delay: time.Second})
	e.compare(first, second, at)
	second.Devices[0].Root.Drops = 5
	e.compare(second, second, at)
	e.compare(second, device(9000, second.Devices[0].Root), at)
	var got []string
	for _, event := range e.list() {
		got = append(got, event.Text)
	}
	if want := []string{"MTU changed from 1480 to 9000", "root qdisc changed from noqueue to netem 1: delay 1s"}; !slices.Equal(got, want) {
		t.Errorf("events are %q, want %q", got, want)
	}
}

// TestEventsBounded checks that a flood of routes leaves the links' events alone.
func TestEventsBounded(t *testing.T) {
	t.Parallel()
	var e events
	e.add(netdev.Event{Kind: netdev.LinkEvent, Text: "went down"})
	message := append([]byte{unix.AF_INET, 32, 0, 0, unix.RT_TABLE_MAIN, 0, 0, unix.RTN_UNICAST, 0, 0, 0, 0},
		8, 0, unix.RTA_DST, 0, 10, 0, 0, 1)
	for range 10 * maxEvents {
		e.message(syscall.NlMsghdr{Type: unix.RTM_NEWROUTE}, message, time.Now())
	}
	list := e.list()
	if len(list) != maxEvents+1 || list[0].Text != "went down" || list[1].Text != "route 10.0.0.1/32 added" {
		t.Errorf("%d events, the first %+v", len(list), list[:2])
	}
}
