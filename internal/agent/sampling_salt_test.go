package agent

import (
	"testing"
	"time"
)

// TestSalts has two agents of a cluster, one that does not know the key yet, and one of another cluster.
func TestSalts(t *testing.T) {
	t.Parallel()
	key := ""
	shared := func(key string) func() string { return func() string { return key } }
	a, b, other := newSalts(shared("one")), newSalts(shared("one")), newSalts(shared("two"))
	late, alone := newSalts(func() string { return key }), newSalts(nil)
	begin := time.Unix(0, 0).Add(1000 * saltEpoch)
	seen := map[uint64]int{}
	for i := range 100 {
		for _, in := range []time.Duration{0, saltEpoch / 2, saltEpoch - 1} {
			now := begin.Add(time.Duration(i) * saltEpoch)
			salt := a.at(now)
			if got := b.at(now.Add(in)); got != salt {
				t.Errorf("epoch %d, after %v: %x and %x with one key", i, in, salt, got)
			}
			if other.at(now) == salt || late.at(now) == salt || alone.at(now) == salt {
				t.Errorf("epoch %d: one salt with different keys", i)
			}
			seen[salt] = i
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d salts in 100 epochs", len(seen))
	}
	if before, now := alone.at(begin), alone.at(begin.Add(saltEpoch)); before == now {
		t.Error("without a key the salt stays")
	}
	if _, shared := late.key(); shared {
		t.Error("a key of one's own is said to be shared")
	}
	key = "one"
	if _, shared := late.key(); !shared || late.at(begin) != a.at(begin) {
		t.Error("the key is known, and not used")
	}
	// Clocks 3 s apart: nine tenths of the time.
	same := 0
	for i := range 3000 {
		now := begin.Add(time.Duration(i) * saltEpoch / 100)
		if a.at(now) == b.at(now.Add(3*time.Second)) {
			same++
		}
	}
	if same != 2700 {
		t.Errorf("clocks 3 s apart agree %d times of 3000, want 2700", same)
	}
}
