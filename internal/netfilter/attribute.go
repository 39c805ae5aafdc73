package netfilter

import (
	"bytes"
	"iter"

	"golang.org/x/sys/unix"

	"tracer/internal/rtnl"
)

// expressionsOf yields a rule's expressions, by name with their data.
func expressionsOf(list []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, data []byte) bool) {
		for kind, element := range rtnl.Attributes(list) {
			if kind != unix.NFTA_LIST_ELEM {
				continue
			}
			var name, data []byte
			for kind, value := range rtnl.Attributes(element) {
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
