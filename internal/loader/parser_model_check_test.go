package loader

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/header"
)

// randomPacket nests headers at random, some of which lie, down to a transport.
type randomPacket struct{ *rand.Rand }

func (r randomPacket) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (r randomPacket) one(of ...int) int { return of[r.IntN(len(of))] }

func (r randomPacket) frame(depth int) []byte {
	kind := r.one(unix.ETH_P_IP, unix.ETH_P_IP, unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_IPV6, unix.ETH_P_8021Q, unix.ETH_P_8021AD, unix.ETH_P_ARP)
	if depth > 0 && r.IntN(20) > 0 && kind == unix.ETH_P_ARP {
		kind = unix.ETH_P_IP
	}
	if r.IntN(100) == 0 {
		kind = r.IntN(1 << 16)
	}
	b := ethernet(uint16(kind))
	for kind == unix.ETH_P_8021Q || kind == unix.ETH_P_8021AD {
		kind = r.one(unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_8021Q)
		b = append(b, vlan(uint16(r.Uint32()), uint16(kind))...)
	}
	return append(b, r.ip(kind == unix.ETH_P_IPV6 != (r.IntN(50) == 0), depth)...)
}

func (r randomPacket) ip(six bool, depth int) []byte {
	protocol, payload := r.payload(depth)
	if !six {
		h := ipv4{src: pod1, dst: pod2, protocol: protocol, id: uint16(r.Uint32()), options: r.bytes(4 * r.one(0, 0, 0, 1, 3, 10))}
		if r.IntN(8) == 0 {
			h.fragment = uint16(r.Uint32()) & uint16(r.one(0x2000, 0x3fff, 0xffff, 0x4000))
		}
		b := h.over(payload)
		b[1] = byte(r.Uint32())
		return b
	}
	for r.IntN(4) == 0 {
		extension := r.bytes(8)
		extension[0] = protocol
		protocol = uint8(r.one(0, 43, 44, 60))
		extension[1] = 0
		if protocol != 44 && r.IntN(2) == 0 {
			extension[1] = 1
			extension = append(extension, r.bytes(8)...)
		}
		if protocol == 44 && r.IntN(2) == 0 {
			extension[2], extension[3] = 0, 1
		}
		payload = append(extension, payload...)
	}
	b := ipv6("fd00::1", "fd00::2", protocol, payload)
	b[0], b[1] = 0x60|byte(r.Uint32())&0xf, byte(r.Uint32())
	return b
}

func (r randomPacket) payload(depth int) (protocol uint8, b []byte) {
	if depth < 4 && r.IntN(2) == 0 {
		switch r.IntN(5) {
		case 0:
			return 4, r.ip(false, depth+1)
		case 1:
			return 41, r.ip(true, depth+1)
		case 2:
			return 17, udp(uint16(r.Uint32()), modelVXLAN, vxlan(r.frame(depth+1)))
		case 3:
			return 17, udp(uint16(r.Uint32()), modelGeneve, geneve(r.bytes(4*r.one(0, 0, 1, 9)), r.frame(depth+1)))
		case 4:
			flags := byte(r.one(0, 0x80, 0x20, 0x10, 0x30, 0xb0, 0x40))
			words := int(flags>>7 + flags>>5&1 + flags>>4&1)
			if r.IntN(2) == 0 {
				return 47, join([]byte{flags, 0, 0x65, 0x58}, r.bytes(4*words), r.frame(depth+1))
			}
			return 47, join([]byte{flags, 0, 8, 0}, r.bytes(4*words), r.ip(false, depth+1))
		}
	}
	return uint8(r.one(6, 6, 6, 17, 17, 1, 58, 132, 50, 51, 4, 41, 47, 0, 44, 60, r.IntN(256))), r.bytes(r.one(0, 3, 7, 8, 12, 15, 16, 20, 40))
}

// mutate changes some bytes, or the length.
func (r randomPacket) mutate(b []byte) []byte {
	for range r.one(0, 0, 1, 1, 2, 5) {
		b[r.IntN(len(b))] = byte(r.Uint32())
	}
	switch r.IntN(4) {
	case 0:
		b = b[:r.IntN(len(b)+1)]
	case 1:
		b = append(b, r.bytes(r.IntN(20))...)
	}
	return b
}

// TestParser compares the parser in the kernel with its model, on packets of all kinds that are cut off at each byte, and on such as are made
// at random: FuzzParser goes on from there.
func TestParser(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{VxlanPort: [8]uint16{hostOrder(modelVXLAN)}, GenevePort: [8]uint16{hostOrder(modelGeneve)}})
	p := &parserUnderTest{loaded: k.loaded}
	if err := p.expect(true); err != nil {
		t.Fatal(err)
	}
	const shortest = 15
	for _, frame := range parserSeeds() {
		for n := shortest; n <= len(frame); n++ {
			p.check(t, frame[:n], true)
		}
	}
	r := randomPacket{rand.New(rand.NewPCG(1, 2))}
	ends := map[header.Result]int{}
	for range 5000 {
		frame := r.mutate(r.frame(0))
		if len(frame) < shortest {
			continue
		}
		p.check(t, frame, true)
		_, end := parseModel(frame, true)
		ends[end]++
	}
	for _, end := range []header.Result{header.Parsed, header.NotIP, header.Malformed, header.TooDeep} {
		if ends[end] < 50 {
			t.Errorf("of the packets only %d are %s", ends[end], end)
		}
	}
}
