package load

import (
	"testing"
	"time"
)

func TestPacketRoundTrip(t *testing.T) {
	t.Parallel()
	want := packet{kind: response, seq: 1<<40 + 7, sent: 3 * time.Hour, call: 2 * time.Hour}
	b := make([]byte, MinSize)
	want.put(b)
	got, err := parsePacket(b)
	if err != nil || got != want {
		t.Errorf("parsePacket(put(%+v)) = %+v, %v", want, got, err)
	}
}

func TestParsePacketRefuses(t *testing.T) {
	t.Parallel()
	good := make([]byte, MinSize)
	packet{kind: request}.put(good)
	for name, b := range map[string][]byte{
		"empty":     nil,
		"truncated": good[:MinSize-1],
		"stranger":  make([]byte, MinSize),
	} {
		if p, err := parsePacket(b); err == nil {
			t.Errorf("%s: parsePacket = %+v, want an error", name, p)
		}
	}
}

func TestMonotonicMovesForward(t *testing.T) {
	t.Parallel()
	a := Monotonic()
	b := Monotonic()
	if a <= 0 || b < a {
		t.Errorf("Monotonic went from %v to %v", a, b)
	}
}
