package underlay

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/device"
	"tracer/internal/netdev"
)

// TestRead makes tunnels in a network namespace of its own and has their ways found out.
func TestRead(t *testing.T) {
	runtime.LockOSThread() // for good: the thread ends with the test
	namespace, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	ip := func(args string) error {
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
		return nil
	}
	must := func(args string) {
		t.Helper()
		if err := ip(args); err != nil {
			t.Fatal(err)
		}
	}
	must("link add eth0 mtu 1500 type veth peer name wire0")
	must("link add eth1 mtu 9000 type veth peer name wire1")
	for i, name := range []string{"eth0", "eth1"} {
		must("link set wire" + name[3:] + " up")
		must("link set " + name + " up")
		must(fmt.Sprintf("addr add 10.9.%d.1/24 dev %s", i, name))
	}
	// Flannel's and Calico's: many ends, of which one is behind the smaller uplink, if that is the one.
	must("link add flannel.1 mtu 8950 type vxlan id 1 dstport 8472 dev eth1 nolearning")
	must("link set flannel.1 up")
	must("route add 10.244.2.0/24 dev flannel.1")
	state, err := device.List()
	if err != nil {
		t.Fatal(err)
	}
	for i := range state.Devices { // both ends of the wires are in one namespace
		if d := &state.Devices[i]; strings.HasPrefix(d.Name, "eth") {
			d.Role = netdev.RoleUplink
		}
	}
	r, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expect := func(why string, want netdev.Tunnel) {
		t.Helper()
		r.read = r.read.Add(-renewAfter)
		got, err := r.Read(state.Devices, nil)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, %v; want %+v", why, got, err, want)
		}
	}
	expect("without an end", netdev.Tunnel{Device: "flannel.1", Largest: 8950})
	link, err := netlink.LinkByName("flannel.1")
	if err != nil {
		t.Fatal(err)
	}
	add := func(end string) {
		t.Helper()
		err := netlink.NeighAppend(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, end[5]}, IP: net.ParseIP(end),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add("10.9.1.2")
	fits := netdev.Tunnel{Device: "flannel.1", Largest: 8950, Header: 50, Peer: netip.MustParseAddr("10.9.1.2"), Uplink: "eth1", MTU: 9000}
	expect("one end", fits)
	if fits.Excess() != 0 {
		t.Errorf("exceeds by %d", fits.Excess())
	}
	must("route replace 10.244.2.0/24 dev flannel.1 mtu 8000")
	fits.Largest = 8000
	expect("a smaller MTU of the route", fits)
	add("10.9.0.2")
	tight := netdev.Tunnel{Device: "flannel.1", Largest: 8000, Header: 50, Peer: netip.MustParseAddr("10.9.0.2"), Uplink: "eth0", MTU: 1500}
	expect("another end behind a smaller uplink", tight)
	must("route add 10.9.0.2/32 dev eth0 mtu 1400")
	tight.MTU = 1400
	expect("the route says less than the device", tight)
	must("route del 10.244.2.0/24")
	tight.Largest = 0
	expect("no route into the tunnel", tight)
}

// TestReadFails returns the error of a tunnel that cannot be read as long as nothing is read anew.
func TestReadFails(t *testing.T) {
	t.Parallel()
	r, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	gone := []netdev.Device{{Index: 1 << 30, Name: "gone", Role: netdev.RoleOverlay, Up: true}}
	for _, about := range []string{"read", "kept"} {
		if found, err := r.Read(gone, nil); err == nil || len(found) > 0 {
			t.Errorf("%s: %+v, %v", about, found, err)
		}
	}
}
