package agent

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"tracer/internal/device"
	"tracer/internal/ethtool"
	"tracer/internal/netdev"
	"tracer/internal/netstat"
	"tracer/internal/underlay"
)

// BenchmarkCounters reads what each snapshot reads beside devices and packets: the counters of cards, of IP, IPsec and the connection
// table, and the ways of tunnels, as often as these are renewed. One is read each five seconds: 0.1 % of a CPU is 5 ms.
func BenchmarkCounters(b *testing.B) {
	runtime.LockOSThread() // for good: the thread ends with the benchmark
	namespace, err := netns.New()
	if err != nil {
		b.Fatal(err)
	}
	defer namespace.Close()
	for _, args := range []string{
		"link add eth0 type veth peer name wire", "link set eth0 up", "link set wire up", "addr add 192.0.2.1/24 dev eth0",
		"link add vxlan0 mtu 1450 type vxlan id 1 dstport 4789 dev eth0 nolearning", "link set vxlan0 up", "route add 10.244.0.0/16 dev vxlan0",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			b.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	state, err := device.List()
	if err != nil {
		b.Fatal(err)
	}
	for i := range state.Devices {
		if d := &state.Devices[i]; d.Name == "eth0" {
			d.Role = netdev.RoleUplink
		}
	}
	counters, err := netstat.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer counters.Close()
	cards, err := ethtool.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer cards.Close()
	b.Run("cards", func(b *testing.B) {
		for b.Loop() {
			if _, err := cards.Read(state.Devices); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("IP, IPsec, conntrack", func(b *testing.B) {
		for b.Loop() {
			if _, err := counters.Read(); err != nil {
				b.Fatal(err)
			}
		}
	})
	ways, err := underlay.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer ways.Close()
	b.Run("tunnels, as a rule", func(b *testing.B) {
		for b.Loop() {
			if _, err := ways.Read(state.Devices, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tunnels, once a minute", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			fresh, err := underlay.Open()
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if _, err := fresh.Read(state.Devices, nil); err != nil {
				b.Fatal(err)
			}
			fresh.Close()
		}
	})
}
