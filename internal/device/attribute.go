package device

import (
	"bytes"
	"encoding/binary"
	"iter"

	"tracer/internal/rtnl"
)

// attributes walks over netlink attributes and stops at one that is cut short.
func attributes(b []byte) iter.Seq2[int, []byte] { return rtnl.Attributes(b) }

// The readers below give 0 for what is beyond the end.

func u16(b []byte, offset int) uint16 {
	if len(b) < offset+2 {
		return 0
	}
	return binary.NativeEndian.Uint16(b[offset:])
}

func u32(b []byte, offset int) uint32 {
	if len(b) < offset+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b[offset:])
}

func u64(b []byte, offset int) uint64 {
	if len(b) < offset+8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b[offset:])
}

func be16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func text(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}
