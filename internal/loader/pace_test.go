package loader

import (
	"slices"
	"testing"
	"time"
)

// TestPace has somebody take the first place again and again.
func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	var moves []time.Duration
	for now := time.Hour; now < time.Hour+time.Minute; now += 2 * time.Second {
		if p.allowed(now) {
			p.moved(now)
			moves = append(moves, now-time.Hour)
		}
	}
	const s = time.Second
	want := []time.Duration{0, 2 * s, 4 * s, 6 * s, 8 * s, 10 * s, 12 * s, 14 * s, 18 * s, 26 * s, 42 * s}
	if !slices.Equal(moves, want) {
		t.Errorf("moves at %v, want %v", moves, want)
	}
	if p.moves = 1e6; p.wait() != paceMost {
		t.Errorf("in the end each waits %v", p.wait())
	}
	if p.moved(p.last + paceMost + 2*time.Minute); p.wait() != 0 {
		t.Errorf("after a quiet time the next waits %v", p.wait())
	}
}
