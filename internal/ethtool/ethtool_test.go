package ethtool_test

import (
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netns"

	"tracer/internal/device"
	"tracer/internal/ethtool"
	"tracer/internal/netdev"
)

// inNamespace makes a network namespace with a pair of veths, of which eth0 is taken for an uplink, for as long as the test runs.
func inNamespace(t testing.TB) []netdev.Device {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	namespace, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { namespace.Close() })
	for _, args := range []string{
		"link set lo up", "link add eth0 type veth peer name wire", "link set eth0 up", "link set wire up", "addr add 192.0.2.1/24 dev wire",
		"neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wire nud permanent",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	state, err := device.List()
	if err != nil {
		t.Fatal(err)
	}
	for i := range state.Devices {
		if d := &state.Devices[i]; d.Name == "eth0" {
			d.Role = netdev.RoleUplink
		}
	}
	return state.Devices
}

// TestRead has an XDP program drop what comes to an uplink, which its driver counts by queue.
func TestRead(t *testing.T) {
	devices := inNamespace(t)
	var uplink *netdev.Device
	for i := range devices {
		if devices[i].Name == "eth0" {
			uplink = &devices[i]
		}
	}
	if err := rlimit.RemoveMemlock(); err != nil { // before 5.11 programs count as locked memory
		t.Fatal(err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, // XDP_DROP
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: uplink.Index, Flags: link.XDPDriverMode})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	r, err := ethtool.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const counter = "rx_queue_*_xdp_drops"
	read := func() uint64 {
		t.Helper()
		nics, err := r.Read(devices)
		if err != nil || len(nics) != 1 || nics[0].Device != "eth0" || nics[0].Driver != "veth" {
			t.Fatalf("%+v, %v", nics, err)
		}
		n, known := nics[0].Counters[counter]
		if !known {
			t.Fatalf("no %s in %v", counter, nics[0].Counters)
		}
		return n
	}
	before := read()
	conn, err := net.Dial("udp", "192.0.2.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const sent = 50
	for range sent {
		if _, err := conn.Write([]byte("dropped")); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(10 * time.Second); read()-before < sent && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := read() - before; n < sent || n > 2*sent { // besides what IPv6 sends by itself
		t.Errorf("%d counted, %d sent", n, sent)
	}

	// Others than uplinks are not asked, nor is one that has gone.
	uplink.Role = netdev.RolePod
	if nics, err := r.Read(devices); err != nil || len(nics) != 0 {
		t.Errorf("%+v, %v", nics, err)
	}
	uplink.Role, uplink.Name, uplink.Index = netdev.RoleUplink, "eth9", 99
	if nics, err := r.Read(devices); err != nil || len(nics) != 0 {
		t.Errorf("of one that is not there: %+v, %v", nics, err)
	}
}

func BenchmarkRead(b *testing.B) {
	devices := inNamespace(b)
	r, err := ethtool.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for b.Loop() {
		if _, err := r.Read(devices); err != nil {
			b.Fatal(err)
		}
	}
}
