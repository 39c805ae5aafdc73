package agent

import (
	"errors"
	"testing"
	"time"

	"tracer/internal/netdev"
)

// TestPeersKept lists WireGuard's other ends of all such devices, and not again while they are as old as they may be, errors neither.
func TestPeersKept(t *testing.T) {
	t.Parallel()
	var p peers
	devices := []netdev.Device{{Name: "wg0", Kind: "wireguard"}, {Name: "eth0"}, {Name: "wg1", Kind: "wireguard"}}
	now := time.Unix(1000, 0)
	refused := errors.New("operation not permitted")
	listed := 0
	list := func(device string) ([]netdev.Peer, error) {
		if listed++; device == "wg1" {
			return nil, refused
		}
		return []netdev.Peer{{Device: device, RxBytes: uint64(listed)}}, nil
	}
	for _, test := range []struct {
		after, atMost time.Duration
		want          int // lists so far
	}{{0, liveEvery, 2}, {time.Second, liveEvery, 2}, {liveEvery - time.Second, liveEvery, 2}, {time.Second, liveEvery, 4}, {time.Second, 0, 6}} {
		now = now.Add(test.after)
		got, err := p.of(devices, now, test.atMost, list)
		if listed != test.want || !errors.Is(err, refused) || len(got) != 1 || got[0].Device != "wg0" || got[0].RxBytes != uint64(test.want-1) {
			t.Errorf("after %v: listed %d times, want %d: %+v, %v", test.after, listed, test.want, got, err)
		}
	}
}
