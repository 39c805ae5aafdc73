package netfilter

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// attributes yields netlink attributes by type, without copying them. What is broken ends them.
func attributes(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(data) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(data))
			if size < unix.SizeofNlAttr || size > len(data) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(data[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), data[unix.SizeofNlAttr:size]) {
				return
			}
			data = data[min(len(data), (size+3)&^3):]
		}
	}
}

// expressionsOf yields a rule's expressions, by name with their data.
func expressionsOf(list []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, data []byte) bool) {
		for kind, element := range attributes(list) {
			if kind != unix.NFTA_LIST_ELEM {
				continue
			}
			var name, data []byte
			for kind, value := range attributes(element) {
				switch kind {
				case unix.NFTA_EXPR_NAME:
					name = trim(value)
				case unix.NFTA_EXPR_DATA:
					data = value
				}
			}
			if !yield(name, data) {
				return
			}
		}
	}
}

// trim takes off the NUL that ends a string.
func trim(value []byte) []byte { return bytes.TrimRight(value, "\x00") }

func text(value []byte) string { return string(trim(value)) }

// is compares without allocating.
func is(value []byte, s string) bool { return string(trim(value)) == s }

// validUserData tells whether the library can go through what nft keeps beside a rule: it trusts the lengths.
func validUserData(data []byte) bool {
	for len(data) >= 2 {
		size := 2 + int(data[1])
		if size > len(data) {
			return false
		}
		data = data[size:]
	}
	return len(data) == 0
}
