package main

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// The ends of the packets that are timed: two pods, and the nodes that they are on.
const (
	pod1, pod2   = "10.244.1.2", "10.244.2.3"
	node1, node2 = "172.18.0.2", "172.18.0.3"
	// vxlanPort is the port that IANA gave to VXLAN.
	vxlanPort = 4789
)

// payload is as much as makes a packet of a usual small request.
var payload = [64]byte{1, 2, 3, 4, 5, 6, 7, 8}

func ethernet(ethertype uint16, rest []byte) []byte {
	header := binary.BigEndian.AppendUint16([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, ethertype)
	return append(header, rest...)
}

// ipv4 puts a header in front; options are as the header has them, padded to four bytes.
func ipv4(source, destination netip.Addr, protocol uint8, options, rest []byte) []byte {
	length := 20 + len(options)
	b := make([]byte, 20, length+len(rest))
	b[0] = 0x40 | byte(length/4)
	binary.BigEndian.PutUint16(b[2:], uint16(length+len(rest)))
	binary.BigEndian.PutUint16(b[4:], 7)
	b[8], b[9] = 64, protocol
	copy(b[12:], source.AsSlice())
	copy(b[16:], destination.AsSlice())
	b = append(b, options...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, rest...)
}

func ipv6(source, destination netip.Addr, protocol uint8, rest []byte) []byte {
	b := make([]byte, 40, 40+len(rest))
	b[0], b[6], b[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(rest)))
	copy(b[8:], source.AsSlice())
	copy(b[24:], destination.AsSlice())
	return append(b, rest...)
}

func tcp(source, destination uint16) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b[0:], source)
	binary.BigEndian.PutUint16(b[2:], destination)
	binary.BigEndian.PutUint32(b[4:], 1000)
	b[12] = 5 << 4
	return append(b, payload[:]...)
}

// The flags of a segment.
const tcpSYN, tcpACK = 2, 16

// segment gives a segment its flags, and what it acknowledges.
func segment(tcp []byte, flags byte, acknowledged uint32) []byte {
	tcp[13] = flags
	binary.BigEndian.PutUint32(tcp[8:], acknowledged)
	return tcp
}

// udp leaves out the checksum, which over IPv4 says that there is none.
func udp(source, destination uint16, rest []byte) []byte {
	b := make([]byte, 8, 8+len(rest))
	binary.BigEndian.PutUint16(b[0:], source)
	binary.BigEndian.PutUint16(b[2:], destination)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(rest)))
	return append(b, rest...)
}

func vxlan(rest []byte) []byte { return slices.Concat([]byte{8, 0, 0, 0, 0, 0, 1, 0}, rest) }

// checksum is that of RFC 1071, over a header of an even length.
func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// packets are what the scenarios run on.
type packets struct {
	tcp4, ack, tcp6, udp4, options, ipip, vxlan []byte
	answer, syn, synACK                         []byte // of tcp4's connection, the first from its other end
}

func newPackets() packets {
	var (
		from, to     = netip.MustParseAddr(pod1), netip.MustParseAddr(pod2)
		outer1       = netip.MustParseAddr(node1)
		outer2       = netip.MustParseAddr(node2)
		from6, to6   = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
		inner        = ipv4(from, to, unix.IPPROTO_TCP, nil, tcp(4000, 80))
		encapsulated = udp(50000, vxlanPort, vxlan(ethernet(unix.ETH_P_IP, inner)))
	)
	return packets{
		tcp4:    ethernet(unix.ETH_P_IP, inner),
		answer:  ethernet(unix.ETH_P_IP, ipv4(to, from, unix.IPPROTO_TCP, nil, segment(tcp(80, 4000), tcpACK, 1000+uint32(len(payload))))),
		syn:     ethernet(unix.ETH_P_IP, ipv4(from, to, unix.IPPROTO_TCP, nil, segment(tcp(4000, 80)[:20], tcpSYN, 0))),
		synACK:  ethernet(unix.ETH_P_IP, ipv4(to, from, unix.IPPROTO_TCP, nil, segment(tcp(80, 4000)[:20], tcpSYN|tcpACK, 1001))),
		ack:     ethernet(unix.ETH_P_IP, ipv4(from, to, unix.IPPROTO_TCP, nil, tcp(4000, 80)[:20])),
		tcp6:    ethernet(unix.ETH_P_IPV6, ipv6(from6, to6, unix.IPPROTO_TCP, tcp(4000, 80))),
		udp4:    ethernet(unix.ETH_P_IP, ipv4(from, to, unix.IPPROTO_UDP, nil, udp(4000, 53, payload[:]))),
		options: ethernet(unix.ETH_P_IP, ipv4(from, to, unix.IPPROTO_TCP, []byte{1, 1, 1, 0}, tcp(4000, 80))),
		ipip:    ethernet(unix.ETH_P_IP, ipv4(outer1, outer2, unix.IPPROTO_IPIP, nil, inner)),
		vxlan:   ethernet(unix.ETH_P_IP, ipv4(outer1, outer2, unix.IPPROTO_UDP, nil, encapsulated)),
	}
}
