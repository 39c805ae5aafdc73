package pairpath

import (
	"encoding/binary"
	"hash/fnv"
	"math/bits"

	"tracer/internal/journey"
	"tracer/internal/record"
)

const (
	protocolTCP = 6
	// maxHeaders is the most bytes that the headers of IP and TCP have, as in bpf/sample.bpf.h: a longer packet has payload.
	maxHeaders = 60 + 60
)

// numbering is how far a packet is known by its number.
type numbering uint8

const (
	// without a number: others of its flow have the same.
	without numbering = iota
	// byChance is a number that others may have too. That shows if most packets of the flow are followed, and only then.
	byChance
	// unique is a number that no other packet of its flow has, followed or not.
	unique
)

// numberingOf tells how far a packet is known by its number. TCP over IPv4 has the IP's id; where that is 0, as in answers without a socket,
// or there is none, as in IPv6, a segment with payload has its sequence number, which only one that is sent again has too, and
// acknowledgements have nothing. Of UDP and others the first bytes count, which may be the same in each.
func numberingOf(rec *record.Record) numbering {
	id := ipID(rec.Fingerprint)
	if !rec.First.Source.Addr().Unmap().Is4() {
		id = 0 // its flow label
	}
	switch {
	case rec.First.Protocol != protocolTCP:
		return byChance
	case id != 0 || rec.IPBytes > maxHeaders:
		return unique
	}
	return without
}

// ipID is what bpf/fingerprint.bpf.h has mixed into a TCP packet's fingerprint: over IPv4 the id, over IPv6 the flow label. Its mix() can be
// undone: the multiplier is odd, and a shift by 29 ends after two steps.
func ipID(fingerprint uint64) uint32 { return uint32(unmix(fingerprint) >> 32) }

// sequence is the number of a TCP packet's first byte: as in the header, below the id.
func sequence(fingerprint uint64) uint32 {
	return bits.ReverseBytes32(uint32(unmix(fingerprint) ^ protocolTCP))
}

func unmix(fingerprint uint64) uint64 {
	const inverse = 0xf1de83e19937733d // of the multiplier, modulo 2^64
	return (fingerprint ^ fingerprint>>29 ^ fingerprint>>58) * inverse
}

// crossingOf is a packet as it is between the nodes: of its flow there, and of what no node changes.
func crossingOf(f *record.Flow, fingerprint uint64, at record.Hop, devices *journey.Devices) Crossing {
	var b [13]byte
	binary.BigEndian.PutUint16(b[:], f.Source.Port())
	binary.BigEndian.PutUint16(b[2:], f.Destination.Port())
	b[4] = byte(f.Protocol)
	binary.BigEndian.PutUint64(b[5:], fingerprint)
	src, dst := f.Source.Addr().As16(), f.Destination.Addr().As16()
	h := fnv.New64a() // whose Write never fails
	_, _ = h.Write(src[:])
	_, _ = h.Write(dst[:])
	ends := h.Sum64()
	_, _ = h.Write(b[:5])
	flow := h.Sum64()
	_, _ = h.Write(b[5:])
	c := Crossing{Packet: h.Sum64(), At: int64(at.Time), Ends: uint32(ends ^ ends>>32), flow: flow}
	if f.Protocol == protocolTCP {
		c.Flow, c.Seq = flow, sequence(fingerprint)
	}
	if d := devices.Find(at.Ifindex); d != nil && d.Hides() {
		c.Hidden = d.Label
	}
	return c
}
