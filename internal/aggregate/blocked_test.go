package aggregate

import (
	"testing"
	"time"
)

// TestBlockade counts what is lost since something last passed, and begins anew after a long pause.
func TestBlockade(t *testing.T) {
	t.Parallel()
	var b blockade
	for i := range 7 {
		b.lose(time.Duration(10+i)*time.Second, nil)
	}
	if b.packets != 7 || b.first != 10*time.Second || b.last != 16*time.Second {
		t.Errorf("%+v", b)
	}
	if b.lose(16*time.Second+maxPause+1, nil); b.packets != 1 || b.first != b.last {
		t.Errorf("after a pause: %+v", b)
	}
}
