// Package header reads of a packet's headers what the programs in the kernel read of them: the innermost flow, by what the packet
// is known again, and where the headers end. It is written from the protocols' definitions, and the programs are tested against it.
package header

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"tracer/internal/record"
)

// Result is how parsing ends, as enum parsed of bpf/packet.bpf.h.
type Result string

// The results.
const (
	Parsed    Result = "parsed"
	NotIP     Result = "not IP"
	Malformed Result = "malformed"
	TooDeep   Result = "too deep"
)

// Packet is what is to be found in a packet; all but Outer and Bytes is of the innermost IP packet.
type Packet struct {
	Flow         record.Flow
	Fingerprint  uint64 // see bpf/fingerprint.bpf.h
	Outer        uint64 // the outermost IP header's first word less what routers rewrite
	IPBytes      uint32
	Encapsulated bool
	Fragment     bool
	// Bytes is how long all headers are, from the first byte that was parsed to the payload of the innermost transport. Of
	// protocols other than TCP, UDP and ICMP, and of a fragment behind the first, the headers end with IP's.
	Bytes int
}

// Tunnels are the UDP destination ports of tunnels that are looked into.
type Tunnels struct{ VXLAN, Geneve []uint16 }

// ParseIP reads a packet that begins with an IP header, of which b is the beginning and length the whole.
func ParseIP(b []byte, length int, tunnels Tunnels) (Packet, Result) {
	p := parser{b: b, length: length, ports: tunnels}
	return p.parse(p.ip)
}

// ParseEthernet reads an Ethernet frame likewise.
func ParseEthernet(b []byte, length int, tunnels Tunnels) (Packet, Result) {
	p := parser{b: b, length: length, ports: tunnels, at: macBytes}
	return p.parse(p.etherType)
}

// The kernel's numbers (include/uapi/linux/if_ether.h, in.h, in6.h), which not all systems' libraries have.
const (
	macBytes = 12 // in front of an EtherType

	ethIP, ethIPv6, ethVLAN, ethQinQ, ethBridged = 0x0800, 0x86dd, 0x8100, 0x88a8, 0x6558

	isICMP, isIPIP, isTCP, isUDP, isIPv6, isGRE, isICMPv6 = 1, 4, 6, 17, 41, 47, 58

	hopByHop, routing, fragmented, destination = 0, 43, 44, 60 // IPv6's extensions
)

const (
	maxHeaders = 12 // that are read
	maxTunnels = 2

	tcpBytes  = 20 // of a TCP header without options
	tcpOffset = 12 // in it, of its length
)

// parser is where parsing stands: first the limits, then what identifies a packet.
type parser struct {
	b       []byte
	length  int
	ports   Tunnels
	at      int
	tunnels int
	found   Packet
	// Of the IP header that was read last.
	protocol byte
	id       uint64
	offset   uint64 // of a fragment, in eight bytes
}

func (m *parser) parse(next step) (Packet, Result) {
	for range maxHeaders {
		var end Result
		if next, end = next(); end != "" {
			return m.found, end
		}
	}
	return m.found, TooDeep
}

// step reads a header, and returns the one that follows or how parsing ends.
type step func() (step, Result)

// bytes are those at an offset from where we are; nil if the packet is shorter.
func (m *parser) bytes(offset, size int) []byte {
	if m.at+offset+size > min(m.length, len(m.b)) {
		return nil
	}
	return m.b[m.at+offset:][:size]
}

func (m *parser) etherType() (step, Result) {
	b := m.bytes(0, 2)
	if b == nil {
		return nil, Malformed
	}
	switch binary.BigEndian.Uint16(b) {
	case ethVLAN, ethQinQ:
		m.at += 4
		return m.etherType, ""
	case ethIP, ethIPv6:
		m.at += 2
		return m.ip, ""
	}
	return nil, NotIP
}

func (m *parser) ip() (step, Result) {
	b := m.bytes(0, 20)
	if b == nil {
		return nil, Malformed
	}
	version := b[0] >> 4
	if m.tunnels == 0 {
		head := [8]byte(b)
		if version == 6 {
			head[0], head[1], head[7] = head[0]&0xf0, head[1]&0x0f, 0 // traffic class, hop limit
		} else {
			head[1] = 0 // TOS
		}
		m.found.Outer = binary.NativeEndian.Uint64(head[:])
	}
	switch version {
	case 4:
		return m.ipv4(b)
	case 6:
		return m.ipv6()
	}
	return nil, Malformed
}

func (m *parser) ipv4(b []byte) (step, Result) {
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total != 0 && total < header || m.at+total > m.length {
		return nil, Malformed
	}
	m.found.IPBytes = uint32(total)
	if total == 0 { // a GSO packet beyond 64 KiB
		m.found.IPBytes = uint32(m.length - m.at)
	}
	m.setAddresses(b[12:16], b[16:20])
	fragment := binary.BigEndian.Uint16(b[6:])
	m.found.Fragment = fragment&0x3fff != 0
	m.protocol, m.id, m.offset = b[9], uint64(binary.NativeEndian.Uint16(b[4:])), uint64(fragment&0x1fff)
	m.at += header
	return m.transport, ""
}

func (m *parser) ipv6() (step, Result) {
	b := m.bytes(0, 40)
	if b == nil {
		return nil, Malformed
	}
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if m.at+40+payload > m.length {
		return nil, Malformed
	}
	m.found.IPBytes = uint32(40 + payload)
	if payload == 0 {
		m.found.IPBytes = uint32(m.length - m.at)
	}
	m.setAddresses(b[8:24], b[24:40])
	m.found.Fragment = false
	m.protocol, m.id, m.offset = b[6], uint64(binary.BigEndian.Uint32(b)&0xfffff), 0
	m.at += 40
	return m.extension, ""
}

func (m *parser) extension() (step, Result) {
	switch m.protocol {
	case hopByHop, routing, fragmented, destination:
	default:
		return m.transport, ""
	}
	b := m.bytes(0, 8)
	if b == nil {
		return nil, Malformed
	}
	is := m.protocol
	m.protocol = b[0]
	m.at += 8
	if is != fragmented {
		m.at += int(b[1]) * 8
		return m.extension, ""
	}
	m.found.Fragment = true
	m.id, m.offset = uint64(binary.NativeEndian.Uint32(b[4:])), uint64(binary.BigEndian.Uint16(b[2:])>>3)
	if m.offset != 0 {
		return m.transport, ""
	}
	return m.extension, ""
}

func (m *parser) transport() (step, Result) {
	var t [16]byte // of ports and sequence, then payload; zero where the packet ends before
	if m.offset == 0 {
		switch b := m.bytes(0, 8); {
		case b != nil:
			copy(t[:], b)
		case m.protocol == isTCP || m.protocol == isUDP || m.protocol == isICMP || m.protocol == isICMPv6:
			return nil, Malformed
		}
		copy(t[8:], m.bytes(8, 8))
		if next := m.inside(t); next != nil {
			m.found.Encapsulated = true
			if m.tunnels++; m.tunnels > maxTunnels {
				return nil, TooDeep
			}
			return next, ""
		}
	}
	m.identify(t)
	m.found.Bytes = min(m.at+m.transportBytes(), m.length, len(m.b))
	return nil, Parsed
}

// transportBytes is how long the header is that comes behind IP's.
func (m *parser) transportBytes() int {
	if m.offset != 0 {
		return 0
	}
	switch m.protocol {
	case isTCP:
		if b := m.bytes(tcpOffset, 1); b != nil {
			return max(tcpBytes, int(b[0]>>4)*4)
		}
		return tcpBytes
	case isUDP, isICMP, isICMPv6:
		return 8
	}
	return 0
}

// inside is what a tunnel's header has behind it; nil if it is none.
func (m *parser) inside(t [16]byte) step {
	switch m.protocol {
	case isIPIP, isIPv6:
		return m.ip
	case isUDP:
		switch port := binary.BigEndian.Uint16(t[2:]); {
		case slices.Contains(m.ports.VXLAN, port) && t[8]&8 != 0: // RFC 7348: the flag I
			m.at += 8 + 8 + 12
			return m.etherType
		case slices.Contains(m.ports.Geneve, port) && t[8]>>6 == 0 && binary.BigEndian.Uint16(t[10:]) == ethBridged: // RFC 8926
			m.at += 8 + 8 + int(t[8]&0x3f)*4 + 12
			return m.etherType
		}
	case isGRE: // RFC 2784, RFC 2890
		const checksum, key, sequence = 0x8000, 0x2000, 0x1000
		flags, kind := binary.BigEndian.Uint16(t[:]), binary.BigEndian.Uint16(t[2:])
		if flags&^(checksum|key|sequence) != 0 || kind != ethIP && kind != ethIPv6 && kind != ethBridged {
			return nil
		}
		m.at += 4
		for _, flag := range []uint16{checksum, key, sequence} {
			if flags&flag != 0 {
				m.at += 4
			}
		}
		if kind != ethBridged {
			return m.ip
		}
		m.at += 12
		return m.etherType
	}
	return nil
}

// identify sets ports and fingerprint of the innermost packet.
func (m *parser) identify(t [16]byte) {
	const goldenRatio = 0x9e3779b97f4a7c15
	mix := func(a, b uint64) uint64 {
		a = (a ^ b) * goldenRatio
		return a ^ a>>29
	}
	layer := mix(0, m.id<<24|m.offset<<8|uint64(m.protocol))
	word, payload := uint64(binary.NativeEndian.Uint32(t[4:])), binary.NativeEndian.Uint64(t[8:])
	ports := false
	switch {
	case m.offset != 0:
		m.found.Fingerprint = layer
	case m.protocol == isTCP:
		ports = true
		m.found.Fingerprint = mix(uint64(m.protocol), m.id<<32|word)
	case m.protocol == isUDP:
		ports = true
		m.found.Fingerprint = mix(layer, payload)
	case m.protocol == isICMP || m.protocol == isICMPv6:
		typeAndCode, sequence := uint64(binary.NativeEndian.Uint16(t[:])), uint64(binary.BigEndian.Uint16(t[6:]))
		m.found.Fingerprint = mix(mix(layer, typeAndCode<<16|sequence), payload)
	default:
		m.found.Fingerprint = mix(layer, word)
	}
	f := &m.found.Flow
	f.Protocol = record.Protocol(m.protocol)
	if ports {
		f.Source = netip.AddrPortFrom(f.Source.Addr(), binary.BigEndian.Uint16(t[:]))
		f.Destination = netip.AddrPortFrom(f.Destination.Addr(), binary.BigEndian.Uint16(t[2:]))
	}
}

func (m *parser) setAddresses(source, destination []byte) {
	address := func(b []byte) netip.AddrPort {
		a, _ := netip.AddrFromSlice(b)
		return netip.AddrPortFrom(a.Unmap(), 0)
	}
	m.found.Flow = record.Flow{Source: address(source), Destination: address(destination)}
}
