package loader

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
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
		return ipv4{src: src, dst: dst, protocol: 6, id: uint16(7*i + 1)}.over(tcp(4000, 80, uint32(1000*i), "x"))
	}
	bare := func(ethertype uint16, inner []byte) []byte { return join(ethernet(ethertype), inner) }
	outer := func(protocol uint8, inner []byte) []byte {
		return bare(unix.ETH_P_IP, ipv4{src: node1, dst: node2, protocol: protocol}.over(inner))
	}
	payload := strings.Repeat("x", 100) // more than all options could be
	word := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	echo := func(id uint16, i int) []byte {
		return join([]byte{8, 0, 0, 0}, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, id), uint16(i)), word(7))
	}
	k := newKernel(t, bpfobj.TracerConfig{VxlanPort: [8]uint16{hostOrder(4789)}})
	for _, test := range []struct {
		name     string
		here     func(i int) []byte
		there    func(i int) []byte // of the same packets
		numbered bool               // whether another node knows each of them again
	}{
		{"TCP to a Service, in IPIP", func(i int) []byte { return bare(unix.ETH_P_IP, tcp4(pod1, "10.96.0.10", i)) },
			func(i int) []byte { return outer(4, tcp4(pod1, pod2, i)) }, true},
		{"TCP in VXLAN, and without", func(i int) []byte {
			return outer(17, udp(1, 4789, vxlan(bare(unix.ETH_P_IP, tcp4(pod1, pod2, i)))))
		}, func(i int) []byte { return bare(unix.ETH_P_IP, tcp4(pod1, pod2, i)) }, true},
		{"TCP over IPv6", func(i int) []byte {
			return bare(unix.ETH_P_IPV6, ipv6("fd00::1", "fd00::2", 6, tcp(4000, 80, uint32(1000*i), payload)))
		},
			func(i int) []byte {
				return outer(41, ipv6("fd00::1", "fd00::3", 6, tcp(4000, 8080, uint32(1000*i), payload)))
			}, true},
		{"UDP with an IP id", func(i int) []byte {
			return bare(unix.ETH_P_IP, ipv4{src: pod1, dst: "10.96.0.10", protocol: 17, id: uint16(i + 1)}.over(udp(4000, 53, word(7))))
		},
			func(i int) []byte {
				return outer(17, udp(1, 4789, vxlan(bare(unix.ETH_P_IP, ipv4{src: pod1, dst: pod2, protocol: 17, id: uint16(i + 1)}.over(udp(4000, 5353, word(7)))))))
			}, true},
		{"TCP without an IP id", func(i int) []byte {
			return bare(unix.ETH_P_IP, ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(4000, 80, uint32(1000*i), payload)))
		},
			func(i int) []byte {
				return outer(4, ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(4000, 80, uint32(1000*i), payload)))
			}, true},
		{"acknowledgements over IPv6", func(int) []byte {
			return bare(unix.ETH_P_IPV6, ipv6("fd00::1", "fd00::2", 6, tcp(4000, 80, 7, "")))
		},
			func(int) []byte { return outer(41, ipv6("fd00::1", "fd00::3", 6, tcp(4000, 80, 7, ""))) }, false},
		{"UDP over IPv6", func(i int) []byte {
			return bare(unix.ETH_P_IPV6, ipv6("fd00::1", "fd00::2", 17, udp(4000, 53, word(i))))
		},
			func(i int) []byte { return outer(41, ipv6("fd00::1", "fd00::3", 17, udp(4000, 53, word(i)))) }, false},
		{"ICMP, with another id", func(i int) []byte {
			return bare(unix.ETH_P_IP, ipv4{src: pod1, dst: pod2, protocol: 1, id: uint16(i + 1)}.over(echo(1, i)))
		},
			func(i int) []byte {
				return outer(4, ipv4{src: node1, dst: pod2, protocol: 1, id: uint16(i + 1)}.over(echo(2, i)))
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
			if test.numbered && both != all {
				k.Errorf("of %d packets that one node follows the other follows %d", all, both)
			}
			if !test.numbered && both > all/2 {
				k.Errorf("packets without a number are taken for the same: of %d that one node follows the other follows %d", all, both)
			}
			if _, both := common(here, followed(many, salt+1, test.there)); both > all/2 {
				k.Errorf("with another salt %d of %d packets are followed", both, all)
			}
		})
	}
}

// TestSamplingRepeated has packets without numbers that come again and again, of a few kinds or many, while the salt is the same: each kind
// would be sampled all or none, if it were by the packet alone. What is counted of them is as right as of others.
func TestSamplingRepeated(t *testing.T) {
	t.Parallel()
	const n, quota, epochs, each = 8, 4, 20, 500
	k := newKernel(t, bpfobj.TracerConfig{})
	udp4 := func(kind int) []byte {
		return join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17}.over(udp(1, 2, []byte{byte(kind), 0, 0, 0, 0, 0, 0, 7})))
	}
	ack6 := func(kind int) []byte {
		return join(ethernet(unix.ETH_P_IPV6), ipv6("fd00::1", "fd00::2", 6, tcp(4000, 80, uint32(kind), "")))
	}
	k.pass(k.inL2, udp4(0), 0) // tells the programs of the device
	for _, test := range []struct {
		name   string
		packet func(kind int) []byte
		kinds  int
		random bool // else in turn
	}{
		{"UDP, all alike", udp4, 1, false}, {"UDP, 2 in turn", udp4, 2, false}, {"UDP, 72 in turn", udp4, 72, false},
		{"UDP, 32 at random", udp4, 32, true}, {"acknowledgements, all alike", ack6, 1, false}, {"acknowledgements, 8 in turn", ack6, 8, false},
	} {
		// Of few salts each may be lucky.
		for range 2 {
			salt := rand.Uint64()
			before := k.counters().Started
			for range epochs {
				k.sample(n, quota, salt)
				for i := range each {
					if test.random {
						i = rand.IntN(test.kinds)
					}
					if _, err := k.inL2.program.Run(&ebpf.RunOptions{Data: test.packet(i % test.kinds)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			const packets = epochs * (each - quota)
			sampled := float64(k.counters().Started-before) - quota*epochs
			// Binomial, with a standard error of 2.7 %; all or none of a kind would have one of sqrt((n-1)/kinds).
			if off := sampled*n/packets - 1; math.Abs(off) > 5*math.Sqrt((n-1)/float64(packets)) {
				t.Errorf("%s, salt %#x: %+.1f %% are counted of %d packets", test.name, salt, 100*off, packets)
			}
		}
	}
}

// TestQuotaBySalt has flows that find no slot for their quotas, as others have taken those of their buckets. With another salt it is not
// these: so whoever chooses addresses and ports cannot choose whose slots are taken.
func TestQuotaBySalt(t *testing.T) {
	t.Parallel()
	const never, others, flows = 1 << 31, 3 * int(bpfobj.TracerTableFLOW_BUCKETS), 200
	k := newKernel(t, bpfobj.TracerConfig{})
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 80, 3, "")))
	send := func(flow int) {
		binary.BigEndian.PutUint16(packet[34:], uint16(flow)) // its source port
		if _, err := k.inL2.program.Run(&ebpf.RunOptions{Data: packet}); err != nil {
			t.Fatal(err)
		}
	}
	k.pass(k.inL2, packet, 0) // tells the programs of the device
	without := func(salt uint64) (which [flows]bool) {
		k.sample(never, 1, salt)
		for flow := range others {
			send(flow)
		}
		for i := range which {
			before := k.counters().Started
			send(others + i)
			which[i] = k.counters().Started == before
		}
		return which
	}
	first, again, other := without(1), without(1), without(2)
	var some, both int
	for i := range first {
		if first[i] {
			some++
			if other[i] {
				both++
			}
		}
	}
	// A third of them, as of all buckets a third have four flows or more.
	if some < flows/5 || some > flows/2 || again != first {
		t.Errorf("%d of %d flows find no slot; with the same salt the same: %v", some, flows, again == first)
	}
	if both > some*2/3 {
		t.Errorf("of %d flows that find no slot %d find none with another salt either", some, both)
	}
}
