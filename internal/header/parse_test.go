package header

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestParseIP reads packets of which only the beginning is there. That it finds what the programs find, internal/loader tests.
func TestParseIP(t *testing.T) {
	t.Parallel()
	const (
		ip      = "4500003c1c4640004006b1e60af401020af40203" // 10.244.1.2 to 10.244.2.3, TCP, 60 bytes
		syn     = "0fa01f9000000001000000005002ffff00000000"
		options = "0fa01f9000000001000000008002ffff00000000020405b4010303070402080a"
	)
	for _, test := range []struct {
		name, hex string
		length    int
		want      Result
		bytes     int
	}{
		{"whole", ip + syn, 60, Parsed, 40},
		{"payload", ip + syn + "736563726574", 60, Parsed, 40},
		{"options", ip + options, 60, Parsed, 52},
		{"cut in options", ip + options[:48], 60, Parsed, 44},
		{"cut in TCP", ip + syn[:14], 60, Malformed, 0},
		{"cut in IP", ip[:30], 60, Malformed, 0},
		{"longer than it is", ip + syn, 50, Malformed, 0},
		{"no IP", "ff" + ip[2:] + syn, 60, Malformed, 0},
		{"nothing", "", 0, Malformed, 0},
	} {
		b, err := hex.DecodeString(test.hex)
		if err != nil {
			t.Fatal(err)
		}
		p, result := ParseIP(b, test.length, Tunnels{})
		if result != test.want || result == Parsed && p.Bytes != test.bytes {
			t.Errorf("%s: %s with %d bytes, want %s with %d", test.name, result, p.Bytes, test.want, test.bytes)
		}
		if result == Parsed && (p.Flow.Source.String() != "10.244.1.2:4000" || p.Flow.Destination.String() != "10.244.2.3:8080" || p.Fingerprint == 0) {
			t.Errorf("%s: %+v", test.name, p)
		}
	}
}

func FuzzParseIP(f *testing.F) {
	f.Add([]byte("\x45"), 100)
	f.Add(bytes.Repeat([]byte{0x60}, 60), 60)
	f.Fuzz(func(t *testing.T, b []byte, length int) {
		p, result := ParseIP(b, length, Tunnels{VXLAN: []uint16{4789}, Geneve: []uint16{6081}})
		if result == Parsed && (p.Bytes <= 0 || p.Bytes > len(b) || p.Bytes > length) {
			t.Errorf("%d bytes of headers in %d of %d", p.Bytes, len(b), length)
		}
	})
}
