package rtnl

import (
	"encoding/binary"
	"iter"
)

// Attributes walks over netlink attributes, by kind without flags, and stops at one that is cut short.
func Attributes(b []byte) iter.Seq2[int, []byte] {
	const header, typeMask = 4, 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	return func(yield func(int, []byte) bool) {
		for len(b) >= header {
			size := int(binary.NativeEndian.Uint16(b))
			if size < header || size > len(b) || !yield(int(binary.NativeEndian.Uint16(b[2:])&typeMask), b[header:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}
