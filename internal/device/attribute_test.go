package device

import (
	"encoding/binary"
	"slices"
	"testing"
)

// attr encodes one netlink attribute with its padding.
func attr(kind int, value ...[]byte) []byte {
	body := slices.Concat(value...)
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(body)))
	b = binary.NativeEndian.AppendUint16(b, uint16(kind))
	b = append(b, body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func n16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }

func n64(n uint64) []byte { return binary.NativeEndian.AppendUint64(nil, n) }

// words encodes 32-bit fields.
func words(fields ...uint32) (b []byte) {
	for _, n := range fields {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return b
}

func TestAttributesStopWhereCut(t *testing.T) {
	t.Parallel()
	whole := slices.Concat(attr(1, []byte("abcde")), attr(0x8000|2, words(7)))
	for size, want := range map[int]int{len(whole): 2, len(whole) - 1: 1, 16: 1, 9: 1, 8: 0, 3: 0, 0: 0} {
		count := 0
		for kind := range attributes(whole[:size]) {
			count++
			if kind != count {
				t.Errorf("of %d bytes: attribute %d has kind %d", size, count, kind)
			}
		}
		if count != want {
			t.Errorf("of %d bytes: %d attributes, want %d", size, count, want)
		}
	}
	for range attributes([]byte{0, 0, 1, 0, 0, 0, 0, 0}) {
		t.Error("an attribute of length 0 was accepted")
	}
}
