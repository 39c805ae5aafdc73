package load

import (
	"testing"
	"time"
)

// A wall clock that is set between a datagram's arrival and its being read must not make it arrive at another time.
func TestArrival(t *testing.T) {
	t.Parallel()
	const read = 10 * time.Hour
	for stamped, want := range map[time.Duration]time.Duration{
		read - time.Millisecond: read - time.Millisecond,
		read - 30*time.Second:   read - 30*time.Second, // read late
		read + time.Microsecond: read,                  // both clocks are not read at once
		read + time.Hour:        read,
		read - time.Hour:        read,
		-time.Hour:              read,
	} {
		if got := arrival(stamped, read); got != want {
			t.Errorf("stamped %v, read at %v: arrived at %v, want %v", stamped, read, got, want)
		}
	}
}
