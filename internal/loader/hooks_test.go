package loader

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

const (
	pod1, pod2   = "10.244.1.2", "10.244.2.3"
	node1, node2 = "172.18.0.2", "172.18.0.3"
)

func flow(src, dst string, srcPort, dstPort uint16, protocol record.Protocol) record.Flow {
	return record.Flow{
		Source:      netip.AddrPortFrom(netip.MustParseAddr(src), srcPort),
		Destination: netip.AddrPortFrom(netip.MustParseAddr(dst), dstPort),
		Protocol:    protocol,
	}
}

// TestBegin parses one packet of each kind at a first hook.
func TestBegin(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{VxlanPort: [8]uint16{hostOrder(4789), hostOrder(8472)}, GenevePort: [8]uint16{hostOrder(6081)}})
	segment := tcp(4000, 80, 1000, "hello")
	inner := ipv4{src: pod1, dst: pod2, protocol: 6, id: 7}.over(segment)
	innerFlow := flow(pod1, pod2, 4000, 80, 6)
	inner6 := ipv6("fd00::1", "fd00::2", 17, udp(5, 53, []byte("question")))
	datagram := func(dst uint16, payload []byte) []byte {
		return ipv4{src: node1, dst: node2, protocol: 17}.over(udp(555, dst, payload))
	}
	ipip := func(b []byte) []byte { return ipv4{src: node1, dst: node2, protocol: 4}.over(b) }
	for _, test := range []struct {
		name         string
		packet       []byte
		program      *place // inL2 if nil
		want         record.Flow
		ipBytes      int
		encapsulated bool
		fragment     bool
	}{
		{name: "tcp", packet: join(ethernet(unix.ETH_P_IP), inner), want: innerFlow, ipBytes: len(inner)},
		// TEST_RUN takes the protocol from where an Ethernet header has it, in this the sender's 8.0.
		{name: "no ethernet", packet: ipv4{src: "8.0.0.1", dst: pod2, protocol: 6}.over(segment), program: k.finalL3,
			want: flow("8.0.0.1", pod2, 4000, 80, 6), ipBytes: len(inner)},
		{name: "ethernet padding", packet: join(ethernet(unix.ETH_P_IP), inner, make([]byte, 9)), want: innerFlow, ipBytes: len(inner)},
		{name: "udp over ipv6", packet: join(ethernet(unix.ETH_P_IPV6), inner6), want: flow("fd00::1", "fd00::2", 5, 53, 17), ipBytes: len(inner6)},
		{name: "icmp", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 1}.over([]byte{8, 0, 1, 2, 0, 9, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})),
			want: flow(pod1, pod2, 0, 0, 1), ipBytes: 36},
		{name: "sctp", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 132}.over(make([]byte, 12))),
			want: flow(pod1, pod2, 0, 0, 132), ipBytes: 32},
		{name: "vlan", packet: join(ethernet(unix.ETH_P_8021Q), vlan(7, unix.ETH_P_IP), inner), want: innerFlow, ipBytes: len(inner)},
		{name: "two vlans", packet: join(ethernet(unix.ETH_P_8021AD), vlan(7, unix.ETH_P_8021Q), vlan(8, unix.ETH_P_IP), inner), want: innerFlow, ipBytes: len(inner)},
		{name: "ip options", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6, options: []byte{1, 1, 1, 0}}.over(segment)),
			want: innerFlow, ipBytes: 24 + len(segment)},
		{name: "first fragment", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17, fragment: 0x2000}.over(udp(9, 10, []byte("12345678")))),
			want: flow(pod1, pod2, 9, 10, 17), ipBytes: 36, fragment: true},
		{name: "later fragment", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17, fragment: 185}.over([]byte("12345678"))),
			want: flow(pod1, pod2, 0, 0, 17), ipBytes: 28, fragment: true},
		{name: "ipv6 extensions", packet: join(ethernet(unix.ETH_P_IPV6), ipv6("fd00::1", "fd00::2", 0,
			join([]byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, segment))),
			want: flow("fd00::1", "fd00::2", 4000, 80, 6), ipBytes: 64 + len(segment)},
		{name: "ipv6 fragment", packet: join(ethernet(unix.ETH_P_IPV6), ipv6("fd00::1", "fd00::2", 44,
			join([]byte{17, 0, 0, 9, 0, 0, 0, 1}, []byte("12345678")))),
			want: flow("fd00::1", "fd00::2", 0, 0, 17), ipBytes: 56, fragment: true},
		{name: "ipip", packet: join(ethernet(unix.ETH_P_IP), ipip(inner)), want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "ipip in ipip", packet: join(ethernet(unix.ETH_P_IP), ipip(ipip(inner))), want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "outer headers left at tunl0", packet: join(ethernet(unix.ETH_P_IP), ipip(inner)), program: k.inL3, want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "vxlan", packet: join(ethernet(unix.ETH_P_IP), datagram(4789, vxlan(join(ethernet(unix.ETH_P_IP), inner)))),
			want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "vxlan on flannel's port", packet: join(ethernet(unix.ETH_P_IP), datagram(8472, vxlan(join(ethernet(unix.ETH_P_IPV6), inner6)))),
			want: flow("fd00::1", "fd00::2", 5, 53, 17), ipBytes: len(inner6), encapsulated: true},
		{name: "vxlan over ipv6 with a vlan inside", packet: join(ethernet(unix.ETH_P_IPV6), ipv6("fd01::1", "fd01::2", 17,
			udp(555, 4789, vxlan(join(ethernet(unix.ETH_P_8021Q), vlan(3, unix.ETH_P_IP), inner))))),
			want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "no vxlan on another port", packet: join(ethernet(unix.ETH_P_IP), datagram(4790, vxlan(join(ethernet(unix.ETH_P_IP), inner)))),
			want: flow(node1, node2, 555, 4790, 17), ipBytes: 20 + 8 + 8 + 14 + len(inner)},
		{name: "ipv6 in ipv4 (sit)", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: 41}.over(inner6)),
			want: flow("fd00::1", "fd00::2", 5, 53, 17), ipBytes: len(inner6), encapsulated: true},
		{name: "ipv4 in ipv6 with an encapsulation limit (ip6tnl)", packet: join(ethernet(unix.ETH_P_IPV6), ipv6("fd01::1", "fd01::2", 60,
			join([]byte{4, 0, 4, 1, 4, 1, 1, 0}, inner))), want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "gre", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: 47}.over(join([]byte{0, 0, 8, 0}, inner))),
			want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "gre with checksum, key and sequence, to an ethernet inside", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: 47}.over(
			join([]byte{0xb0, 0, 0x65, 0x58}, make([]byte, 12), ethernet(unix.ETH_P_IPV6), inner6))),
			want: flow("fd00::1", "fd00::2", 5, 53, 17), ipBytes: len(inner6), encapsulated: true},
		{name: "pptp's gre is no tunnel of ours", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: 47}.over(join([]byte{0x30, 1, 0x88, 0x0b}, inner))),
			want: flow(node1, node2, 0, 0, 47), ipBytes: 24 + len(inner)},
		{name: "geneve", packet: join(ethernet(unix.ETH_P_IP), datagram(6081, geneve(nil, join(ethernet(unix.ETH_P_IP), inner)))),
			want: innerFlow, ipBytes: len(inner), encapsulated: true},
		{name: "geneve with options", packet: join(ethernet(unix.ETH_P_IP), datagram(6081, geneve(make([]byte, 12), join(ethernet(unix.ETH_P_IPV6), inner6)))),
			want: flow("fd00::1", "fd00::2", 5, 53, 17), ipBytes: len(inner6), encapsulated: true},
		{name: "short udp", packet: join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17}.over(udp(1, 2, []byte("abc")))),
			want: flow(pod1, pod2, 1, 2, 17), ipBytes: 31},
	} {
		k.each(test.name, func(k *kernel) {
			program := cmp.Or(test.program, k.inL2)
			hook := record.Ingress
			if program == k.finalL3 {
				hook = record.Egress
			}
			k.pass(program, test.packet, 0)
			open := k.open()
			if len(open) != 1 {
				k.Fatalf("%d open journeys, want 1; counters %+v", len(open), k.counters())
			}
			r := open[0]
			if r.First != test.want || r.Last != test.want {
				k.Errorf("flow %v, then %v, want %v", r.First, r.Last, test.want)
			}
			if r.Encapsulated != test.encapsulated || r.Fragment != test.fragment {
				k.Errorf("encapsulated %v, fragment %v, want %v, %v", r.Encapsulated, r.Fragment, test.encapsulated, test.fragment)
			}
			if int(r.IPBytes) != test.ipBytes || int(r.SKBBytes) != len(test.packet) || r.Segments != 1 || r.Weight != 1 {
				k.Errorf("%d IP bytes, %d skb bytes, %d segments, weight %d, want %d, %d, 1, 1",
					r.IPBytes, r.SKBBytes, r.Segments, r.Weight, test.ipBytes, len(test.packet))
			}
			if r.Len != 1 || r.Hops[0].Hook != hook || r.Hops[0].Ifindex == 0 || r.Hops[0].Time == 0 {
				k.Errorf("path %v, want one hook with device and time", r.Passed())
			}
		})
	}
}

// TestMalformed gives headers that lie; they are counted and nothing is timed.
func TestMalformed(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	inner := ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 2, 3, ""))
	ipip := func(b []byte) []byte { return ipv4{src: node1, dst: node2, protocol: 4}.over(b) }
	shortHeader := slices.Clone(inner)
	shortHeader[0] = 0x44
	noVersion := slices.Clone(inner)
	noVersion[0] = 0x55
	for _, test := range []struct {
		name    string
		packet  []byte
		tooDeep bool
	}{
		{"inner ip header cut", ipip(inner[:15]), false},
		{"tcp header cut", ipv4{src: pod1, dst: pod2, protocol: 6}.over([]byte{1, 2, 3}), false},
		{"header length below 20", shortHeader, false},
		{"no such version", noVersion, false},
		{"total length beyond the packet", ipv4{src: pod1, dst: pod2, protocol: 6, total: 1400}.over(tcp(1, 2, 3, "")), false},
		{"total length below the header", ipv4{src: pod1, dst: pod2, protocol: 6, total: 12}.over(tcp(1, 2, 3, "")), false},
		{"options beyond the packet", append([]byte{0x4f}, inner[1:]...), false},
		{"three tunnels", ipip(ipip(ipip(inner))), true},
	} {
		k.each(test.name, func(k *kernel) {
			k.pass(k.inL2, join(ethernet(unix.ETH_P_IP), test.packet), 0)
			if open := k.open(); len(open) != 0 {
				k.Errorf("%d journeys began", len(open))
			}
			c := k.counters()
			if malformed, deep := c.Malformed == 1, c.TooDeep == 1; malformed == test.tooDeep || deep != test.tooDeep {
				k.Errorf("malformed %d, too deep %d", c.Malformed, c.TooDeep)
			}
		})
	}
}

func TestNotIP(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	k.pass(k.inL2, join(ethernet(unix.ETH_P_ARP), make([]byte, 46)), 0)
	if c := k.counters(); len(k.open()) != 0 || c.Malformed != 0 {
		t.Errorf("an ARP packet was sampled or called malformed: %+v", c)
	}
}

// TestEgress tells what begins at an egress from what was forwarded there.
func TestEgress(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	inner := ipv4{src: node1, dst: pod2, protocol: 6}.over(tcp(1, 2, 3, ""))
	tunnelled := ipv4{src: node1, dst: node2, protocol: 4}.over(inner)
	ifb := *k.finalL2
	ifb.device.Class |= uint8(bpfobj.TracerTableCLASS_BEGINS)
	for _, test := range []struct {
		name    string
		at      *place
		packet  []byte
		ingress uint32
		begins  bool
	}{
		{"the node's own", k.finalL2, inner, 0, true},
		{"forwarded, begin not seen", k.finalL2, inner, 1, false},
		{"redirected as it came in, not seen before", &ifb, inner, 1, true},
		{"the outside of a tunnel of ours, inside not seen", k.finalL2, tunnelled, 0, false},
		{"the same, redirected", &ifb, tunnelled, 1, false},
	} {
		if test.ingress != 0 && !k.takesIngress() {
			continue
		}
		k.each(test.name, func(k *kernel) {
			k.pass(test.at, join(ethernet(unix.ETH_P_IP), test.packet), test.ingress)
			if began := len(k.open()) == 1; began != test.begins {
				k.Errorf("began: %v, want %v", began, test.begins)
			}
			if missed := k.counters().NoIngress == 1; missed == test.begins {
				k.Errorf("ingress missed: %v, want %v", missed, !test.begins)
			}
		})
	}
}

// TestContinue has a packet come to a hook with the sk_buff and the contents of one before: it is the same one, however old, unless it
// came in and the other did not, or it was at that device's egress already.
func TestContinue(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17, id: 3}.over(udp(5, 53, []byte("question"))))
	const here, elsewhere = 1, 2 // a test run's device is the first
	for _, test := range []struct {
		name    string
		at      *place
		hook    record.Hook // the last of the one before
		ifindex uint32
		camein  uint32
		same    bool
	}{
		{"forwarded, after an ingress", k.finalL2, record.Ingress, elsewhere, elsewhere, true},
		{"the node's own, after an ingress", k.finalL2, record.Ingress, elsewhere, 0, false},
		{"out of a tunnel", k.inL2, record.Ingress, elsewhere, 0, true},
		{"the same ingress again", k.inL2, record.Ingress, here, 0, false},
		{"wrapped, after a tunnel's xmit", k.finalL2, record.Xmit, elsewhere, 0, true},
		{"after this device's own xmit", k.finalL2, record.Xmit, here, 0, false},
		{"after this device's own dequeue", k.finalL2, record.Dequeue, here, 0, false},
		{"the same egress again", k.finalL2, record.Egress, here, 0, false},
	} {
		if test.camein != 0 && !k.takesIngress() {
			continue
		}
		k.each(test.name, func(k *kernel) {
			// A test run mostly gets the sk_buff that the one before has freed.
			for range 100 {
				k.reset()
				k.pass(k.inL2, packet, 0)
				b, slot := k.only()
				j := k.journeyOf(b, slot)
				b.State[slot].Hook, b.State[slot].Ifindex = uint8(test.hook), test.ifindex
				j.Hook[0], j.Ifindex[0], j.TimeNs[0] = uint8(test.hook), test.ifindex, uint64(Monotonic()-time.Minute)
				k.pass(test.at, packet, test.camein)
				if b.Tag[slot] == 0 || len(k.fingerprints()) != 1 || k.counters().NoIngress != 0 {
					continue // another sk_buff
				}
				if same := j.Hops == 2; same != test.same {
					k.Errorf("continued: %v, want %v", same, test.same)
				}
				return
			}
			k.Fatal("each run has an sk_buff of its own")
		})
	}
}

// journeyOf is the journey of a slot.
func (k *kernel) journeyOf(b *bpfobj.TracerBucketSlots, slot int) *bpfobj.TracerJourney {
	for i := range k.buckets {
		if &k.buckets[i] == b {
			return &k.journeys[i].Journey[slot]
		}
	}
	k.Fatal("no such bucket")
	return nil
}

// TestFingerprint changes one field at a time between two hooks, and checks which of them make it another packet.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	base := func() []byte {
		return join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6, id: 5}.over(tcp(1000, 80, 77, "data")))
	}
	for _, test := range []struct {
		name   string
		change func([]byte)
		same   bool
	}{
		{"source address (SNAT)", func(b []byte) { copy(b[26:], []byte{1, 2, 3, 4}) }, true},
		{"destination address and port (DNAT)", func(b []byte) { copy(b[30:], []byte{1, 2, 3, 4}); b[36] = 9 }, true},
		{"TTL, TOS, checksums", func(b []byte) { b[22], b[15], b[24], b[50] = 1, 3, 9, 9 }, true},
		{"TCP acknowledgement", func(b []byte) { binary.BigEndian.PutUint32(b[42:], 99) }, true},
		{"IP id", func(b []byte) { b[19]++ }, false},
		{"TCP sequence", func(b []byte) { b[41]++ }, false},
	} {
		k.each(test.name, func(k *kernel) {
			fingerprint := func(packet []byte) uint64 {
				k.reset()
				k.pass(k.inL2, packet, 0)
				return k.fingerprints()[0]
			}
			changed := base()
			test.change(changed)
			if same := fingerprint(base()) == fingerprint(changed); same != test.same {
				k.Errorf("same packet: %v, want %v", same, test.same)
			}
		})
	}
}

// fingerprints are those of all slots in use.
func (k *kernel) fingerprints() (found []uint64) {
	k.Helper()
	for i := range k.buckets {
		for slot, tag := range k.buckets[i].Tag {
			if tag != 0 {
				found = append(found, k.journeys[i].Journey[slot].Fingerprint)
			}
		}
	}
	if len(found) == 0 {
		k.Fatal("no slot is in use")
	}
	return found
}
