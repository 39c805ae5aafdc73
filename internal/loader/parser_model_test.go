package loader

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// parsedAs is how parsing ends: enum parsed of bpf/packet.bpf.h.
type parsedAs string

const (
	parsed    parsedAs = "parsed"
	notIP     parsedAs = "not IP"
	malformed parsedAs = "malformed"
	tooDeep   parsedAs = "too deep"
)

// parsedPacket is what is to be found in a packet; all but outer is of the innermost IP packet.
type parsedPacket struct {
	flow         record.Flow
	fingerprint  uint64
	outer        uint64
	ipBytes      uint32
	encapsulated bool
	fragment     bool
}

// parserModel is what the parser of headers in bpf/parse.bpf.h should do, written from the protocols' definitions and its
// promises: first the limits, then what identifies a packet.
type parserModel struct {
	b       []byte
	at      int
	tunnels int
	found   parsedPacket
	// Of the IP header that was read last.
	protocol byte
	id       uint64
	offset   uint64 // of a fragment, in eight bytes
}

const (
	modelVXLAN, modelGeneve = 4789, 6081
	modelHeaders            = 12 // that are read at most
	modelTunnels            = 2
)

// etherType is what the kernel takes a frame for (eth_type_trans).
func etherType(frame []byte) uint16 {
	t := binary.BigEndian.Uint16(frame[12:])
	switch {
	case t >= 0x600:
		return t
	case len(frame) >= 16 && frame[14] == 0xff && frame[15] == 0xff:
		return unix.ETH_P_802_3
	default:
		return unix.ETH_P_802_2
	}
}

// parseModel parses a frame. A device without Ethernet headers has them in front all the same (before Linux 5.14), so that IP's
// begins behind them.
func parseModel(frame []byte, ethernet bool) (parsedPacket, parsedAs) {
	switch etherType(frame) {
	case unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_8021Q, unix.ETH_P_8021AD:
	default:
		return parsedPacket{}, notIP
	}
	m := parserModel{b: frame, at: 12}
	next := m.etherType
	if !ethernet {
		m.at, next = 14, m.ip
	}
	for range modelHeaders {
		var end parsedAs
		if next, end = next(); end != "" {
			return m.found, end
		}
	}
	return m.found, tooDeep
}

// step reads a header, and returns the one that follows or how parsing ends.
type step func() (step, parsedAs)

// bytes are those at an offset from where we are; nil if the packet is shorter.
func (m *parserModel) bytes(offset, size int) []byte {
	if m.at+offset+size > len(m.b) {
		return nil
	}
	return m.b[m.at+offset:][:size]
}

func (m *parserModel) etherType() (step, parsedAs) {
	b := m.bytes(0, 2)
	if b == nil {
		return nil, malformed
	}
	switch binary.BigEndian.Uint16(b) {
	case unix.ETH_P_8021Q, unix.ETH_P_8021AD:
		m.at += 4
		return m.etherType, ""
	case unix.ETH_P_IP, unix.ETH_P_IPV6:
		m.at += 2
		return m.ip, ""
	}
	return nil, notIP
}

func (m *parserModel) ip() (step, parsedAs) {
	b := m.bytes(0, 20)
	if b == nil {
		return nil, malformed
	}
	version := b[0] >> 4
	if m.tunnels == 0 {
		head := [8]byte(b)
		if version == 6 {
			head[0], head[1], head[7] = head[0]&0xf0, head[1]&0x0f, 0 // traffic class, hop limit
		} else {
			head[1] = 0 // TOS
		}
		m.found.outer = binary.NativeEndian.Uint64(head[:])
	}
	switch version {
	case 4:
		return m.ipv4(b)
	case 6:
		return m.ipv6()
	}
	return nil, malformed
}

func (m *parserModel) ipv4(b []byte) (step, parsedAs) {
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total != 0 && total < header || m.at+total > len(m.b) {
		return nil, malformed
	}
	m.found.ipBytes = uint32(total)
	if total == 0 { // a GSO packet beyond 64 KiB
		m.found.ipBytes = uint32(len(m.b) - m.at)
	}
	m.setAddresses(b[12:16], b[16:20])
	fragment := binary.BigEndian.Uint16(b[6:])
	m.found.fragment = fragment&0x3fff != 0
	m.protocol, m.id, m.offset = b[9], uint64(binary.NativeEndian.Uint16(b[4:])), uint64(fragment&0x1fff)
	m.at += header
	return m.transport, ""
}

func (m *parserModel) ipv6() (step, parsedAs) {
	b := m.bytes(0, 40)
	if b == nil {
		return nil, malformed
	}
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if m.at+40+payload > len(m.b) {
		return nil, malformed
	}
	m.found.ipBytes = uint32(40 + payload)
	if payload == 0 {
		m.found.ipBytes = uint32(len(m.b) - m.at)
	}
	m.setAddresses(b[8:24], b[24:40])
	m.found.fragment = false
	m.protocol, m.id, m.offset = b[6], uint64(binary.BigEndian.Uint32(b)&0xfffff), 0
	m.at += 40
	return m.extension, ""
}

func (m *parserModel) extension() (step, parsedAs) {
	const hopByHop, routing, fragment, destination = 0, 43, 44, 60
	switch m.protocol {
	case hopByHop, routing, fragment, destination:
	default:
		return m.transport, ""
	}
	b := m.bytes(0, 8)
	if b == nil {
		return nil, malformed
	}
	is := m.protocol
	m.protocol = b[0]
	m.at += 8
	if is != fragment {
		m.at += int(b[1]) * 8
		return m.extension, ""
	}
	m.found.fragment = true
	m.id, m.offset = uint64(binary.NativeEndian.Uint32(b[4:])), uint64(binary.BigEndian.Uint16(b[2:])>>3)
	if m.offset != 0 {
		return m.transport, ""
	}
	return m.extension, ""
}

func (m *parserModel) transport() (step, parsedAs) {
	var t [16]byte // of ports and sequence, then payload; zero where the packet ends before
	if m.offset == 0 {
		switch b := m.bytes(0, 8); {
		case b != nil:
			copy(t[:], b)
		case m.protocol == unix.IPPROTO_TCP || m.protocol == unix.IPPROTO_UDP || m.protocol == unix.IPPROTO_ICMP || m.protocol == unix.IPPROTO_ICMPV6:
			return nil, malformed
		}
		copy(t[8:], m.bytes(8, 8))
		if next := m.inside(t); next != nil {
			m.found.encapsulated = true
			if m.tunnels++; m.tunnels > modelTunnels {
				return nil, tooDeep
			}
			return next, ""
		}
	}
	m.identify(t)
	return nil, parsed
}

// inside is what a tunnel's header has behind it; nil if it is none.
func (m *parserModel) inside(t [16]byte) step {
	switch m.protocol {
	case unix.IPPROTO_IPIP, unix.IPPROTO_IPV6:
		return m.ip
	case unix.IPPROTO_UDP:
		switch port := binary.BigEndian.Uint16(t[2:]); {
		case port == modelVXLAN && t[8]&8 != 0: // RFC 7348: the flag I
			m.at += 8 + 8 + 12
			return m.etherType
		case port == modelGeneve && t[8]>>6 == 0 && binary.BigEndian.Uint16(t[10:]) == unix.ETH_P_TEB: // RFC 8926
			m.at += 8 + 8 + int(t[8]&0x3f)*4 + 12
			return m.etherType
		}
	case unix.IPPROTO_GRE: // RFC 2784, RFC 2890
		const checksum, key, sequence = 0x8000, 0x2000, 0x1000
		flags, kind := binary.BigEndian.Uint16(t[:]), binary.BigEndian.Uint16(t[2:])
		if flags&^(checksum|key|sequence) != 0 || kind != unix.ETH_P_IP && kind != unix.ETH_P_IPV6 && kind != unix.ETH_P_TEB {
			return nil
		}
		m.at += 4
		for _, flag := range []uint16{checksum, key, sequence} {
			if flags&flag != 0 {
				m.at += 4
			}
		}
		if kind != unix.ETH_P_TEB {
			return m.ip
		}
		m.at += 12
		return m.etherType
	}
	return nil
}

// identify sets ports and fingerprint of the innermost packet.
func (m *parserModel) identify(t [16]byte) {
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
		m.found.fingerprint = layer
	case m.protocol == unix.IPPROTO_TCP:
		ports = true
		m.found.fingerprint = mix(uint64(m.protocol), m.id<<32|word)
	case m.protocol == unix.IPPROTO_UDP:
		ports = true
		m.found.fingerprint = mix(layer, payload)
	case m.protocol == unix.IPPROTO_ICMP || m.protocol == unix.IPPROTO_ICMPV6:
		typeAndCode, sequence := uint64(binary.NativeEndian.Uint16(t[:])), uint64(binary.BigEndian.Uint16(t[6:]))
		m.found.fingerprint = mix(mix(layer, typeAndCode<<16|sequence), payload)
	default:
		m.found.fingerprint = mix(layer, word)
	}
	f := &m.found.flow
	f.Protocol = record.Protocol(m.protocol)
	if ports {
		f.Source = netip.AddrPortFrom(f.Source.Addr(), binary.BigEndian.Uint16(t[:]))
		f.Destination = netip.AddrPortFrom(f.Destination.Addr(), binary.BigEndian.Uint16(t[2:]))
	}
}

func (m *parserModel) setAddresses(source, destination []byte) {
	address := func(b []byte) netip.AddrPort {
		a, _ := netip.AddrFromSlice(b)
		return netip.AddrPortFrom(a.Unmap(), 0)
	}
	m.found.flow = record.Flow{Source: address(source), Destination: address(destination)}
}
