// Package load is the lab's application: a client that calls a server at a steady rate, over UDP and TCP, and
// writes down how long each packet took. Both ends read the same clock, so one-way delays depend on
// nothing that is being tested.
package load

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// MinSize is the smallest UDP payload in bytes: the header alone.
const MinSize = 32

// MaxSize is the largest UDP payload in bytes: what fits the overlay's MTU of 1450 unfragmented, also by IPv6.
const MaxSize = 1450 - 40 - 8

// magic begins every packet of the load.
const magic uint32 = 0x74726c64 // "trld"

// kind tells a call from its answer.
type kind uint32

const (
	request  kind = 1
	response kind = 2
)

// packet is the header of each UDP payload; what follows is padding.
type packet struct {
	kind kind
	seq  uint64
	sent time.Duration // CLOCK_MONOTONIC when this packet was sent
	call time.Duration // in a response, when the request was sent
}

var errNotOurs = errors.New("not a packet of the load")

// put writes the header to the beginning of b, which has at least MinSize bytes. The sequence number comes early,
// so that packets of one flow differ in their first bytes as those of real applications do.
func (p packet) put(b []byte) {
	binary.BigEndian.PutUint32(b, magic)
	binary.LittleEndian.PutUint64(b[4:], p.seq)
	binary.BigEndian.PutUint32(b[12:], uint32(p.kind))
	binary.BigEndian.PutUint64(b[16:], uint64(p.sent))
	binary.BigEndian.PutUint64(b[24:], uint64(p.call))
}

func parsePacket(b []byte) (packet, error) {
	if len(b) < MinSize || binary.BigEndian.Uint32(b) != magic {
		return packet{}, errNotOurs
	}
	return packet{
		seq:  binary.LittleEndian.Uint64(b[4:]),
		kind: kind(binary.BigEndian.Uint32(b[12:])),
		sent: time.Duration(binary.BigEndian.Uint64(b[16:])),
		call: time.Duration(binary.BigEndian.Uint64(b[24:])),
	}, nil
}

// Clock tells the time since some fixed moment, the same for client and server.
type Clock func() time.Duration

// Monotonic is CLOCK_MONOTONIC, which one kernel gives to all of its namespaces alike and which BPF reads too.
func Monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("CLOCK_MONOTONIC cannot be read: " + err.Error()) // every Linux has it
	}
	return time.Duration(t.Nano())
}
