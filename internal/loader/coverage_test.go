package loader

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// coverage is what the hooks of a class have seen.
func (k *kernel) coverage(class string, device uint8) HookCoverage {
	k.Helper()
	l := &Loader{classes: deviceClasses{class: device}, objects: objects{named: named{Counters: k.objects.Counters}, table: k.table}}
	all, err := l.Coverage()
	if err != nil {
		k.Fatal(err)
	}
	return all[class]
}

// TestBegun tells which packets are to go on from where they came in.
func TestBegun(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	own := &Loader{objects: objects{named: named{OwnAddresses: k.objects.Own}}}
	if err := own.SetOwnAddresses([]netip.Addr{netip.MustParseAddr(node1), netip.MustParseAddr("fd00::1")}); err != nil {
		t.Fatal(err)
	}
	const forUs, forOthers, toMany = "\x00\x00\x00\x00\x00\x00", "\x02\x00\x00\x00\x00\x01", "\x01\x00\x5e\x00\x00\x01" // by loopback's address
	frame := func(to string, ethertype uint16, packet []byte) []byte {
		b := join(ethernet(ethertype), packet)
		copy(b, to)
		return b
	}
	segment := tcp(4000, 80, 1000, "hello")
	to := func(address string) []byte { return ipv4{src: pod2, dst: address, protocol: 6}.over(segment) }
	fragment := ipv4{src: pod2, dst: pod1, protocol: 17, fragment: 0x2000}.over(udp(9, 10, []byte("12345678")))
	for _, test := range []struct {
		name   string
		packet []byte
		port   bool // the device is a bridge's port
		begun  uint64
	}{
		{"to a pod", frame(forUs, unix.ETH_P_IP, to(pod1)), false, 1},
		{"to the node", frame(forUs, unix.ETH_P_IP, to(node1)), false, 0},
		{"to a pod by IPv6", frame(forUs, unix.ETH_P_IPV6, ipv6("fd00::2", "fd00::3", 6, segment)), false, 1},
		{"to the node by IPv6", frame(forUs, unix.ETH_P_IPV6, ipv6("fd00::2", "fd00::1", 6, segment)), false, 0},
		{"for another host", frame(forOthers, unix.ETH_P_IP, to(pod1)), false, 0},
		{"for the bridge's MAC", frame(forOthers, unix.ETH_P_IP, to(pod1)), true, 1},
		{"multicast", frame(toMany, unix.ETH_P_IP, to("224.0.0.1")), false, 0},
		{"multicast at a bridge's port", frame(toMany, unix.ETH_P_IP, to("224.0.0.1")), true, 0},
		{"a fragment", frame(forUs, unix.ETH_P_IP, fragment), false, 0},
		{"ARP", frame(toMany, unix.ETH_P_ARP, make([]byte, 46)), false, 0},
		{"malformed", frame(forUs, unix.ETH_P_IP, to(pod1)[:24]), false, 0},
	} {
		k.each(test.name, func(k *kernel) {
			at := *k.inL2
			at.device.Class = 3
			if test.port {
				at.device.Class |= uint8(bpfobj.TracerTableCLASS_PORT)
			}
			k.pass(&at, test.packet, 0)
			want := HookCoverage{Ingress: record.Coverage{Packets: 1, Segments: 1, Begun: test.begun, InFlight: test.begun}}
			if got := k.coverage("eth0", 3); got != want {
				k.Errorf("counted %+v, want %+v", got, want)
			}
		})
	}
}

// TestSeen counts a packet at each hook that it passes, and those that go on without a journey.
func TestSeen(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 2, 3, "")))
	copy(packet, make([]byte, 6)) // loopback's address
	at := *k.finalL2
	at.device.Class = 1
	k.pass(&at, packet, 0)
	once := record.Coverage{Packets: 1, Segments: 1, Begun: 1, InFlight: 1}
	if got := k.coverage("eth0", 1); got != (HookCoverage{Egress: once}) {
		t.Errorf("at an egress: %+v", got)
	}
	if k.takesIngress() {
		k.reset()
		k.pass(&at, packet, 7) // forwarded, and not seen before
		if got := k.coverage("eth0", 1); got.Egress != (record.Coverage{Packets: 1, Segments: 1}) {
			t.Errorf("without its ingress: %+v", got)
		}
	}
}

// TestSeenSampled has a sample of packets stand for all of them.
func TestSeenSampled(t *testing.T) {
	t.Parallel()
	const n = 16
	k := newKernel(t, bpfobj.TracerConfig{})
	k.sample(n, 8, 77)
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 80, 3, "")))
	copy(packet, make([]byte, 6))
	sent, _ := k.repeat(packet, 30_000) // which is less than a flow's count goes to, even all once more
	got := k.coverage("pod", 0).Ingress
	// Binomial: the standard error is sqrt(n·sent), 2.3 %.
	if got.Packets < sent*94/100 || got.Packets > sent*106/100 || got.Begun != got.Packets {
		t.Errorf("%d packets seen and %d begun, of %d", got.Packets, got.Begun, sent)
	}
	if want := n * sent; got.Variance < want*85/100 || got.Variance > want*105/100 {
		t.Errorf("variance %d, want about %d", got.Variance, want)
	}
}

// TestDeviceClasses: pods share one class, other devices have one each as long as there are, and keep it.
func TestDeviceClasses(t *testing.T) {
	t.Parallel()
	c := deviceClasses{}
	pod := netdev.Device{Name: "cali1", Role: netdev.RolePod}
	if a, b := c.of(pod, false), c.of(netdev.Device{Name: "cali2", Role: netdev.RolePod}, false); a != b {
		t.Errorf("pods' devices are of class %d and %d", a, b)
	}
	seen := map[uint8]bool{}
	for i := range 40 {
		seen[c.of(netdev.Device{Name: string(rune('a' + i)), Role: netdev.RoleUplink}, false)] = true
	}
	if len(seen) != 31 || seen[0] || !seen[lastClass] {
		t.Errorf("40 uplinks are of classes %v", seen)
	}
	if got := c.of(pod, true); got != uint8(bpfobj.TracerTableCLASS_PORT) {
		t.Errorf("a pod's device at a bridge is of class %#x", got)
	}
}
