package device

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"tracer/internal/netdev"
)

func TestBroadcasts(t *testing.T) {
	t.Parallel()
	links := []link{{index: 7, name: "cni0", kind: "bridge", addresses: prefixes("10.244.1.1/24", "10.8.3.7/13", "10.0.0.1/31", "10.0.0.1/32", "fd00::1/64")}}
	want := []netip.Addr{netip.MustParseAddr("10.244.1.255"), netip.MustParseAddr("10.15.255.255")}
	if got := newState(links, nil, nil).Devices[0].Broadcasts; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCarryChanged(t *testing.T) {
	t.Parallel()
	start, now := time.Unix(100, 0), time.Unix(200, 0)
	none := netdev.Qdisc{Kind: "noqueue"}
	noqueue := netdev.Qdisc{Kind: "noqueue", Handle: "0:"}
	fifo := netdev.Qdisc{Kind: "pfifo_fast", Handle: "0:"}
	htb := netdev.Qdisc{Kind: "htb", Handle: "10:", Children: []netdev.Qdisc{{Kind: "netem", Handle: "100:", Loss: 0.1}}}
	busy := netdev.Qdisc{Kind: "htb", Handle: "10:", Packets: 9, BacklogBytes: 3,
		Children: []netdev.Qdisc{{Kind: "netem", Handle: "100:", Loss: 0.1, Drops: 7, BacklogPackets: 2}}}
	worse := netdev.Qdisc{Kind: "htb", Handle: "10:", Children: []netdev.Qdisc{{Kind: "netem", Handle: "100:", Loss: 0.2}}}

	for _, test := range []struct {
		name     string
		old, new netdev.Qdisc
		changed  bool
	}{
		{"the same", htb, htb, false},
		{"counters", htb, busy, false},
		{"a parameter below the root", htb, worse, true},
		{"a fault injected", noqueue, htb, true},
		{"a fault healed", htb, noqueue, true},
		{"up for the first time", none, fifo, false},
		{"set while the device was down", none, htb, true},
		{"another default", noqueue, fifo, true},
	} {
		state := func(q netdev.Qdisc, changed time.Time) State {
			return State{Devices: []netdev.Device{{Index: 3, Root: q, Changed: changed}}}
		}
		next := state(test.new, time.Time{})
		setChanged(state(test.old, start), next, now)
		want := start
		if test.changed {
			want = now
		}
		if got := next.Devices[0].Changed; got != want {
			t.Errorf("%s: changed at %v, want %v", test.name, got, want)
		}
		if same := sameConfiguration(state(test.old, start), next); same != (test.name == "the same" || test.name == "counters") {
			t.Errorf("%s: sameConfiguration = %v", test.name, same)
		}
	}
	if busy.Children[0].Drops != 7 {
		t.Error("comparing took the counters away")
	}

	fresh := State{Devices: []netdev.Device{{Index: 4, Root: htb}}}
	setChanged(State{}, fresh, now)
	if !fresh.Devices[0].Changed.IsZero() {
		t.Error("a new device counts as changed")
	}
}
