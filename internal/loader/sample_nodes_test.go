package loader

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
)

// TestSamplingOnTwoNodes has one node follow fewer packets than another: each that it follows, the other one follows too, whatever is
// around the packet there and whoever has translated its addresses. With another salt they would have none but by chance in common.
func TestSamplingOnTwoNodes(t *testing.T) {
	t.Parallel()
	const packets, few, many = 2000, 16, 6 // one in so many
	tcp4 := func(src, dst string, i int) []byte {
		return ipv4{src: src, dst: dst, protocol: 6, id: uint16(7 * i)}.over(tcp(4000, 80, uint32(1000*i), "x"))
	}
	bare := func(ethertype uint16, inner []byte) []byte { return join(ethernet(ethertype), inner) }
	outer := func(protocol uint8, inner []byte) []byte {
		return bare(unix.ETH_P_IP, ipv4{src: node1, dst: node2, protocol: protocol}.over(inner))
	}
	word := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	echo := func(id uint16, i int) []byte {
		return join([]byte{8, 0, 0, 0}, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, id), uint16(i)), word(7))
	}
	k := newKernel(t, bpfobj.TracerConfig{VxlanPort: [8]uint16{hostOrder(4789)}})
	for _, test := range []struct {
		name     string
		here     func(i int) []byte
		there    func(i int) []byte // of the same packets
		distinct bool               // whether all of them can be told apart
	}{
		{"TCP to a Service, in IPIP", func(i int) []byte { return bare(unix.ETH_P_IP, tcp4(pod1, "10.96.0.10", i)) },
			func(i int) []byte { return outer(4, tcp4(pod1, pod2, i)) }, true},
		{"TCP in VXLAN, and without", func(i int) []byte {
			return outer(17, udp(1, 4789, vxlan(bare(unix.ETH_P_IP, tcp4(pod1, pod2, i)))))
		}, func(i int) []byte { return bare(unix.ETH_P_IP, tcp4(pod1, pod2, i)) }, true},
		{"TCP over IPv6", func(i int) []byte {
			return bare(unix.ETH_P_IPV6, ipv6("fd00::1", "fd00::2", 6, tcp(4000, 80, uint32(1000*i), "x")))
		},
			func(i int) []byte {
				return outer(41, ipv6("fd00::1", "fd00::3", 6, tcp(4000, 8080, uint32(1000*i), "x")))
			}, true},
		{"UDP", func(i int) []byte {
			return bare(unix.ETH_P_IP, ipv4{src: pod1, dst: "10.96.0.10", protocol: 17}.over(udp(4000, 53, word(i))))
		},
			func(i int) []byte {
				return outer(17, udp(1, 4789, vxlan(bare(unix.ETH_P_IP, ipv4{src: pod1, dst: pod2, protocol: 17}.over(udp(4000, 5353, word(i)))))))
			}, true},
		{"UDP over IPv6", func(i int) []byte {
			return bare(unix.ETH_P_IPV6, ipv6("fd00::1", "fd00::2", 17, udp(4000, 53, word(i))))
		},
			func(i int) []byte { return outer(41, ipv6("fd00::1", "fd00::3", 17, udp(4000, 53, word(i)))) }, true},
		{"ICMP, with another id", func(i int) []byte {
			return bare(unix.ETH_P_IP, ipv4{src: pod1, dst: pod2, protocol: 1, id: uint16(i)}.over(echo(1, i)))
		},
			func(i int) []byte {
				return outer(4, ipv4{src: node1, dst: pod2, protocol: 1, id: uint16(i)}.over(echo(2, i)))
			}, true},
		{"UDP, all packets alike", func(int) []byte {
			return bare(unix.ETH_P_IP, ipv4{src: pod1, dst: pod2, protocol: 17}.over(udp(4000, 53, word(7))))
		},
			func(int) []byte {
				return outer(4, ipv4{src: pod1, dst: pod2, protocol: 17}.over(udp(4000, 53, word(7))))
			}, false},
	} {
		k.each(test.name, func(k *kernel) {
			followed := func(n uint32, salt uint64, packet func(int) []byte) (which []bool) {
				k.sample(n, 0, salt)
				k.pass(k.inL2, packet(packets), 0) // tells the programs of the device
				before := k.counters().Started
				for i := range packets {
					if _, err := k.inL2.program.Run(&ebpf.RunOptions{Data: packet(i)}); err != nil {
						k.Fatal(err)
					}
					now := k.counters().Started
					which = append(which, now != before)
					before = now
				}
				return which
			}
			common := func(a, b []bool) (all, both int) {
				for i := range a {
					if a[i] {
						all++
						if b[i] {
							both++
						}
					}
				}
				return all, both
			}
			const salt = 0xfeed
			here := followed(few, salt, test.here)
			all, both := common(here, followed(many, salt, test.there))
			if all < packets/few*2/3 || all > packets/few*3/2 {
				k.Errorf("%d of %d packets are followed, want one in %d", all, packets, few)
			}
			if test.distinct && both != all {
				k.Errorf("of %d packets that one node follows the other follows %d", all, both)
			}
			if !test.distinct && both == all {
				k.Error("packets that nothing tells apart are taken for the same")
			}
			if _, both := common(here, followed(many, salt+1, test.there)); both > all/2 {
				k.Errorf("with another salt %d of %d packets are followed", both, all)
			}
		})
	}
}

// TestSamplingRepeated has packets that come again and again, of few kinds, while the salt is the same: each kind would be sampled all or
// none, if it were by the packet alone. What is counted of them is as right as of others.
func TestSamplingRepeated(t *testing.T) {
	t.Parallel()
	const n, quota, epochs, each = 8, 4, 20, 500
	k := newKernel(t, bpfobj.TracerConfig{})
	chance := rand.New(rand.NewPCG(3, 4))
	k.pass(k.inL2, join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17}.over(udp(1, 1, nil))), 0) // tells the programs of the device
	for kinds, random := range map[int]bool{1: false, 2: false, 8: false, 32: true} {
		packet := func(kind int) []byte {
			return join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17}.over(udp(1, 2, []byte{byte(kind), 0, 0, 0, 0, 0, 0, 7})))
		}
		// Of few salts each may be lucky.
		for range 3 {
			salt := chance.Uint64()
			before := k.counters().Started
			for range epochs {
				k.sample(n, quota, salt)
				for i := range each {
					if random {
						i = chance.IntN(kinds)
					}
					if _, err := k.inL2.program.Run(&ebpf.RunOptions{Data: packet(i % kinds)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			sampled := float64(k.counters().Started-before) - quota*epochs
			// Binomial, with a standard error of sqrt((n-1)/packets), 2.6 %; all or none of a kind would be off by sqrt((n-1)/kinds).
			if got, want := sampled*n, float64((each-quota)*epochs); got < 0.85*want || got > 1.15*want {
				t.Errorf("%d kinds: %.0f packets are counted of %.0f", kinds, got, want)
			}
		}
	}
}
