package loader

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tracer/internal/record"
)

// TestRequests sends connections packet by packet past a pod's device.
func TestRequests(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	const client, server = 40000, 80
	opened := func(pod bool, more ...passing) []passing { return append(opening(pod), more...) }
	for _, test := range []struct {
		name          string
		local, remote uint16 // ports; client and server if 0
		steps         []passing
		leftOut       string
		gone          bool // no slot is left
	}{
		{name: "a client's", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{flags: "A", seq: 501, ack: 111},
			passing{flags: "PA", seq: 501, ack: 111, bytes: 90, want: "answered 3"},
			passing{pod: true, flags: "A", seq: 111, ack: 591},
			passing{pod: true, flags: "PA", seq: 111, ack: 591, bytes: 10},
			passing{flags: "PA", seq: 591, ack: 121, bytes: 90, want: "answered 7"},
		)},
		{name: "a server's", local: server, remote: client, steps: opened(false,
			passing{flags: "PA", seq: 101, ack: 501, bytes: 10, want: "connected 0"},
			passing{pod: true, flags: "PA", seq: 501, ack: 111, bytes: 90, want: "answered 3"},
		)},
		{name: "a server's that speaks first", local: server, remote: client, steps: opened(false,
			passing{pod: true, flags: "PA", seq: 501, ack: 101, bytes: 20},
			passing{flags: "A", seq: 101, ack: 521},
			passing{flags: "PA", seq: 101, ack: 521, bytes: 10, want: "connected 0"},
			passing{pod: true, flags: "PA", seq: 521, ack: 111, bytes: 90, want: "answered 5"},
		)},
		{name: "a server's that is only probed", local: server, remote: client, steps: opened(false,
			passing{flags: "FA", seq: 101, ack: 501, want: "connected 0"},
			passing{pod: true, flags: "FA", seq: 501, ack: 102},
		), gone: true},
		{name: "of many packets, as is the answer", steps: opened(true,
			passing{pod: true, flags: "A", seq: 101, ack: 501, bytes: 5000},
			passing{pod: true, flags: "A", seq: 5101, ack: 501, bytes: 1000},
			passing{flags: "A", seq: 501, ack: 5101},
			passing{pod: true, flags: "PA", seq: 6101, ack: 501, bytes: 5},
			passing{flags: "A", seq: 501, ack: 6106, bytes: 1000, want: "answered 6"},
			passing{pod: true, flags: "A", seq: 6106, ack: 1501},
			passing{flags: "PA", seq: 1501, ack: 6106, bytes: 1000},
		)},
		{name: "sent again", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{flags: "PA", seq: 501, ack: 111, bytes: 90, want: "answered 3+"},
			passing{flags: "PA", seq: 501, ack: 111, bytes: 90},
			passing{pod: true, flags: "PA", seq: 111, ack: 591, bytes: 10},
			passing{flags: "PA", seq: 591, ack: 121, bytes: 90, want: "answered 8"},
		)},
		{name: "a part comes late", local: server, remote: client, steps: opened(false,
			passing{flags: "A", seq: 1101, ack: 501, bytes: 1000, want: "connected 0"},
			passing{pod: true, flags: "A", seq: 501, ack: 101},
			passing{flags: "A", seq: 101, ack: 501, bytes: 1000},
			passing{pod: true, flags: "PA", seq: 501, ack: 2101, bytes: 9, want: "answered 5+"},
		)},
		{name: "SYN sent again", steps: []passing{
			{pod: true, flags: "S", seq: 100},
			{pod: true, flags: "S", seq: 100},
			{flags: "SA", seq: 500, ack: 101, want: "connected 0+"},
			{flags: "SA", seq: 500, ack: 101},
			{pod: true, flags: "A", seq: 101, ack: 501},
		}},
		{name: "keep-alives, probes and acknowledgements are no payload", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{flags: "PA", seq: 501, ack: 111, bytes: 90, want: "answered 3"},
			passing{pod: true, flags: "A", seq: 110, ack: 591},           // keep-alive
			passing{pod: true, flags: "A", seq: 110, ack: 591, bytes: 1}, // an old one's
			passing{flags: "A", seq: 591, ack: 111},
			passing{flags: "A", seq: 590, ack: 111}, // zero-window probe
			passing{pod: true, flags: "A", seq: 111, ack: 591},
		)},
		{name: "half-closed", steps: opened(true,
			passing{pod: true, flags: "PAF", seq: 101, ack: 501, bytes: 10},
			passing{flags: "A", seq: 501, ack: 112},
			passing{flags: "PA", seq: 501, ack: 112, bytes: 90, want: "answered 3"},
			passing{flags: "FA", seq: 591, ack: 112},
			passing{pod: true, flags: "A", seq: 112, ack: 592},
		), gone: true},
		{name: "answered before it was whole", steps: opened(true,
			passing{pod: true, flags: "A", seq: 101, ack: 501, bytes: 5000},
			passing{pod: true, flags: "A", seq: 5101, ack: 501, bytes: 1000},
			passing{flags: "PA", seq: 501, ack: 5101, bytes: 90},
			passing{pod: true, flags: "A", seq: 6101, ack: 591, bytes: 10},
			passing{flags: "PA", seq: 591, ack: 6111, bytes: 90, want: "answered 6"},
		)},
		{name: "multiplexed", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{flags: "PA", seq: 501, ack: 111, bytes: 90, want: "answered 3"},
			passing{pod: true, flags: "PA", seq: 111, ack: 501, bytes: 10},
			passing{flags: "PA", seq: 591, ack: 111, bytes: 90},
			passing{pod: true, flags: "PA", seq: 121, ack: 591, bytes: 10},
			passing{flags: "PA", seq: 681, ack: 131, bytes: 90},
			passing{pod: true, flags: "PA", seq: 131, ack: 771, bytes: 10},
			passing{flags: "PA", seq: 771, ack: 141, bytes: 90},
		), leftOut: "not_alternating"},
		{name: "multiplexed, by a server that is slower than the network", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{flags: "A", seq: 501, ack: 111},
			passing{pod: true, flags: "PA", seq: 111, ack: 501, bytes: 10, wait: pause},
			passing{flags: "A", seq: 501, ack: 121},
			passing{flags: "PA", seq: 501, ack: 121, bytes: 90},
			passing{flags: "PA", seq: 591, ack: 121, bytes: 90, wait: pause},
			passing{pod: true, flags: "PA", seq: 121, ack: 681, bytes: 10},
			passing{pod: true, flags: "PA", seq: 131, ack: 681, bytes: 10, wait: pause},
			passing{flags: "PA", seq: 681, ack: 141, bytes: 90},
			passing{flags: "PA", seq: 771, ack: 141, bytes: 90},
		), leftOut: "not_alternating"},
		{name: "written slowly, once", local: server, remote: client, steps: opened(false,
			passing{flags: "PA", seq: 101, ack: 501, bytes: 10, want: "connected 0"},
			passing{flags: "PA", seq: 111, ack: 501, bytes: 10, wait: pause},
			passing{flags: "PA", seq: 121, ack: 501, bytes: 10, wait: pause},
			passing{pod: true, flags: "PA", seq: 501, ack: 131, bytes: 90},
			passing{flags: "PA", seq: 131, ack: 591, bytes: 10},
			passing{pod: true, flags: "PA", seq: 591, ack: 141, bytes: 90, want: "answered 7"},
		)},
		{name: "that waits for its window", steps: opened(true,
			passing{pod: true, flags: "A", seq: 101, ack: 501, bytes: 5000},
			passing{pod: true, flags: "A", seq: 5101, ack: 501, bytes: 5000, wait: pause},
			passing{pod: true, flags: "PA", seq: 10101, ack: 501, bytes: 50, wait: pause},
			passing{flags: "PA", seq: 501, ack: 10151, bytes: 90, want: "answered 5"},
		)},
		{name: "reset by who asked", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{pod: true, flags: "R", seq: 161, want: "given-up 3", wait: farewell},
		), gone: true},
		{name: "closed instead of an answer", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{flags: "FA", seq: 501, ack: 161, want: "closed 3"},
			passing{pod: true, flags: "R", seq: 161},
		), gone: true},
		{name: "reset by who was asked", local: server, remote: client, steps: opened(false,
			passing{flags: "PA", seq: 101, ack: 501, bytes: 60, want: "connected 0"},
			passing{pod: true, flags: "RA", seq: 501, ack: 161, want: "closed 3"},
		), gone: true},
		{name: "given up before the other end closes as well", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{pod: true, flags: "FA", seq: 161, ack: 501, wait: farewell},
			passing{flags: "FA", seq: 501, ack: 162, wait: pause, want: "given-up 3"},
		), gone: true},
		{name: "given up before the pod that was asked resets it", local: server, remote: client, steps: opened(false,
			passing{flags: "PA", seq: 101, ack: 501, bytes: 60, want: "connected 0"},
			passing{flags: "FA", seq: 161, ack: 501, wait: farewell},
			passing{flags: "FA", seq: 161, ack: 501, wait: pause},
			passing{pod: true, flags: "RA", seq: 501, ack: 162, wait: pause, want: "given-up 3"},
		), gone: true},
		{name: "asked while the other end closes", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{flags: "PA", seq: 501, ack: 161, bytes: 90, want: "answered 3"},
			passing{pod: true, flags: "PA", seq: 161, ack: 591, bytes: 60, wait: pause},
			passing{flags: "FA", seq: 591, ack: 161},
			passing{flags: "R", seq: 592},
		), gone: true},
		{name: "asked while the other end resets it", local: server, remote: client, steps: opened(false,
			passing{flags: "PA", seq: 101, ack: 501, bytes: 60, want: "connected 0"},
			passing{pod: true, flags: "PA", seq: 501, ack: 161, bytes: 90, want: "answered 3"},
			passing{flags: "PA", seq: 161, ack: 591, bytes: 60, wait: pause},
			passing{pod: true, flags: "RA", seq: 591, ack: 161},
		), gone: true},
		{name: "asked over what the other end has closed", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{flags: "PA", seq: 501, ack: 161, bytes: 90, want: "answered 3"},
			passing{flags: "FA", seq: 591, ack: 161},
			passing{pod: true, flags: "A", seq: 161, ack: 592},
			passing{pod: true, flags: "PA", seq: 161, ack: 592, bytes: 60, wait: pause},
			passing{flags: "R", seq: 592},
		), gone: true},
		{name: "a farewell", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{flags: "PA", seq: 501, ack: 161, bytes: 90, want: "answered 3"},
			passing{pod: true, flags: "FPA", seq: 161, ack: 591, bytes: 60},
			passing{flags: "FA", seq: 591, ack: 222, wait: farewell},
		), gone: true},
		{name: "a control frame", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 35},
			passing{flags: "FA", seq: 501, ack: 136, wait: farewell},
			passing{pod: true, flags: "FA", seq: 136, ack: 502},
		), gone: true},
		{name: "the FIN overtakes a lost answer", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{flags: "FA", seq: 591, ack: 161},
			passing{flags: "PA", seq: 501, ack: 161, bytes: 90, want: "answered 3"},
		)},
		{name: "the SYN is late, and twice", local: server, remote: client, steps: opened(false,
			passing{flags: "S", seq: 100},
			passing{flags: "PA", seq: 101, ack: 501, bytes: 10, want: "connected 0"},
			passing{flags: "S", seq: 100},
			passing{pod: true, flags: "SA", seq: 500, ack: 101},
			passing{pod: true, flags: "PA", seq: 501, ack: 111, bytes: 90, want: "answered 4"},
		)},
		{name: "reset while it opens, by who opens it", steps: []passing{
			{pod: true, flags: "S", seq: 100},
			{flags: "A", seq: 7777, ack: 8888}, // the other end has the old connection yet
			{pod: true, flags: "R", seq: 8888},
			{pod: true, flags: "S", seq: 100},
			{flags: "SA", seq: 500, ack: 101, want: "connected 0+"},
		}},
		{name: "closed after the answer", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			passing{flags: "FPA", seq: 501, ack: 111, bytes: 10, want: "answered 3"},
			passing{pod: true, flags: "FA", seq: 111, ack: 512},
		), gone: true},
		{name: "refused", steps: []passing{
			{pod: true, flags: "S", seq: 100},
			{flags: "RA", ack: 101},
		}, gone: true},
		{name: "with TCP Fast Open", steps: []passing{
			{pod: true, flags: "S", seq: 100, bytes: 10},
			{flags: "SA", seq: 500, ack: 111, want: "connected 0"},
			{flags: "PA", seq: 501, ack: 111, bytes: 10, want: "answered 0"},
			{pod: true, flags: "PA", seq: 111, ack: 511, bytes: 10},
			{flags: "PA", seq: 511, ack: 121, bytes: 10, want: "answered 3"},
		}},
		{name: "whose SYN's data were refused", steps: []passing{
			{pod: true, flags: "S", seq: 100, bytes: 10},
			{flags: "SA", seq: 500, ack: 101, want: "connected 0"},
			{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			{flags: "PA", seq: 501, ack: 111, bytes: 10, want: "answered 2"},
		}},
		{name: "a tuple used again at once", steps: opened(true,
			passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60},
			passing{pod: true, flags: "S", seq: 90000, want: "given-up 3"},
			passing{flags: "SA", seq: 70000, ack: 90001, want: "connected 4"},
			passing{pod: true, flags: "PA", seq: 90001, ack: 70001, bytes: 10},
			passing{flags: "PA", seq: 70001, ack: 90011, bytes: 10, want: "answered 6"},
		)},
		{name: "in the middle of a connection", steps: []passing{
			{flags: "PA", seq: 501, ack: 111, bytes: 90},
			{pod: true, flags: "PA", seq: 111, ack: 591, bytes: 10},
			{flags: "PA", seq: 591, ack: 121, bytes: 90, want: "answered 1"},
		}},
		{name: "in the middle of one of unknown ends", local: 40000, remote: 50000, steps: []passing{
			{flags: "PA", seq: 501, ack: 111, bytes: 90},
			{pod: true, flags: "PA", seq: 111, ack: 591, bytes: 10},
			{flags: "PA", seq: 591, ack: 121, bytes: 90},
		}, leftOut: "unknown_client"},
		{name: "one direction passes elsewhere", steps: []passing{
			{pod: true, flags: "S", seq: 100},
			{pod: true, flags: "A", seq: 101, ack: 501},
			{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
			{pod: true, flags: "A", seq: 111, ack: 591},
			{pod: true, flags: "PA", seq: 111, ack: 591, bytes: 10},
		}, leftOut: "one_way"},
		{name: "one direction passes elsewhere, in the middle", steps: []passing{
			{pod: true, flags: "PA", seq: 111, ack: 591, bytes: 10},
			{pod: true, flags: "PA", seq: 121, ack: 691, bytes: 10},
			{pod: true, flags: "PA", seq: 131, ack: 791, bytes: 10},
		}, leftOut: "one_way"},
		{name: "the other one passes elsewhere", local: server, remote: client, steps: []passing{
			{pod: true, flags: "SA", seq: 500, ack: 101},
			{pod: true, flags: "PA", seq: 501, ack: 111, bytes: 90},
			{pod: true, flags: "PA", seq: 591, ack: 121, bytes: 90},
		}, leftOut: "one_way"},
		{name: "two queries at once", remote: 53, steps: []passing{
			{udp: true, pod: true, bytes: 30, id: "a1"},
			{udp: true, pod: true, bytes: 30, id: "b2"},
			{udp: true, bytes: 80, id: "a1", want: "answered 0"},
			{udp: true, pod: true, bytes: 30, id: "b2", wait: 250 * time.Millisecond},
			{udp: true, bytes: 80, id: "b2", want: "answered 1+"},
		}},
		{name: "answered by two datagrams each", remote: 5000, steps: slices.Concat(datagrams(0), datagrams(3), datagrams(6), datagrams(9), datagrams(12), datagrams(15),
			datagrams(18), datagrams(21), datagrams(24), datagrams(27), datagrams(30), datagrams(33), datagrams(36), datagrams(39), datagrams(42), datagrams(45),
			datagrams(48), datagrams(51))},
		{name: "of two datagrams, or two of one each", remote: 53, steps: []passing{
			{udp: true, pod: true, bytes: 30},
			{udp: true, pod: true, bytes: 30, wait: pause},
			{udp: true, bytes: 80},
			{udp: true, bytes: 80},
			{udp: true, pod: true, bytes: 30},
			{udp: true, bytes: 80, want: "answered 4"},
		}},
		{name: "datagrams asked before the last is answered", remote: 5000, steps: []passing{
			{udp: true, pod: true, bytes: 30},
			{udp: true, pod: true, bytes: 30, wait: pause},
			{udp: true, bytes: 80},
			{udp: true, pod: true, bytes: 30},
			{udp: true, pod: true, bytes: 30, wait: pause},
			{udp: true, bytes: 80},
			{udp: true, bytes: 80},
			{udp: true, pod: true, bytes: 30},
			{udp: true, bytes: 80},
		}, leftOut: "not_alternating"},
		{name: "datagrams asked while answers are owed", remote: 5000, steps: []passing{
			{udp: true, pod: true, bytes: 30},
			{udp: true, pod: true, bytes: 30, wait: pause},
			{udp: true, bytes: 80},
			{udp: true, pod: true, bytes: 30},
			{udp: true, bytes: 80}, // the second one's
			{udp: true, bytes: 80},
			{udp: true, pod: true, bytes: 30},
			{udp: true, bytes: 80, want: "answered 6"},
		}},
		{name: "datagrams of which one is never answered", remote: 5000, steps: []passing{
			{udp: true, pod: true, bytes: 30},
			{udp: true, pod: true, bytes: 30, wait: pause},
			{udp: true, bytes: 80},
			{udp: true, pod: true, bytes: 30, wait: 250 * time.Millisecond},
			{udp: true, bytes: 80, want: "answered 3"},
		}},
		{name: "a datagram sent again", remote: 53, steps: []passing{
			{udp: true, pod: true, bytes: 30},
			{udp: true, pod: true, bytes: 30, wait: 250 * time.Millisecond},
			{udp: true, bytes: 80, want: "answered 0+"},
		}},
		{name: "datagrams of who has no better known port", local: 40000, remote: 50000, steps: []passing{
			{udp: true, bytes: 30},
			{udp: true, pod: true, bytes: 80, want: "answered 0"},
		}},
		{name: "a stream of datagrams", remote: 53, steps: append(slices.Repeat([]passing{{udp: true, bytes: 80}}, 20),
			passing{udp: true, pod: true, bytes: 30}, passing{udp: true, bytes: 30}), leftOut: "not_alternating"},
	} {
		for _, family := range []struct {
			name          string
			v6            bool
			local, remote string
		}{{"IPv4", false, pod1, pod2}, {"IPv6", true, "fd00::1", "fd00::2"}} {
			k.each(test.name+"/"+family.name, func(k *kernel) {
				if test.local == 0 {
					test.local = client
				}
				if test.remote == 0 {
					test.remote = server
				}
				k.play(test.steps, family.v6, family.local, family.remote, test.local, test.remote)
				for reason, n := range k.counters().LeftOut {
					if want := reason == test.leftOut; want != (n == 1) || n > 1 {
						k.Errorf("%d connections are left out as %s, want %v", n, reason, want)
					}
				}
				if used := k.watchedSlots(); used == 0 != test.gone {
					k.Errorf("%d slots are in use", used)
				}
			})
		}
	}
}

// TestProxy has a pod that is asked on one connection ask on another: two pairs, by who opened each.
func TestProxy(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	k.play(append(opening(false), passing{flags: "PA", seq: 101, ack: 501, bytes: 10, want: "connected 0"}), false, pod1, pod2, 8080, 40001)
	k.play(append(opening(true), passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
		passing{flags: "PA", seq: 501, ack: 111, bytes: 10, want: "answered 3"}), false, pod1, pod2, 40000, 80)
	k.pass(k.fromPodL2, (&passing{pod: true, flags: "PA", seq: 501, ack: 111, bytes: 10}).packet(false, pod1, pod2, 8080, 40001), 0)
	got := k.requests()
	if len(got) != 1 || got[0].Request.Client || got[0].Request.Outcome != record.Answered {
		t.Errorf("%+v, want what was asked of the proxy", got)
	}
	k.reset()
}

// TestHairpin has a pod ask a Service behind which it is itself: what it asks, and what it is asked, by the node's address or by its own, are two
// connections at its device, and each is timed from its own packets.
func TestHairpin(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	const service = "10.96.0.1"
	for _, source := range []string{"172.18.0.2", pod1} {
		pass := func(remote string, localPort, remotePort uint16, step passing) {
			place := k.podL2
			if step.pod {
				place = k.fromPodL2
			}
			k.pass(place, step.packet(false, pod1, remote, localPort, remotePort), 0)
		}
		ask := func(step passing) { pass(service, 40000, 80, step) }
		asked := func(step passing) { pass(source, 8080, 40000, step) }
		ask(passing{pod: true, flags: "S", seq: 100})
		asked(passing{flags: "S", seq: 100})
		asked(passing{pod: true, flags: "SA", seq: 500, ack: 101})
		ask(passing{flags: "SA", seq: 500, ack: 101})
		ask(passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60})
		asked(passing{flags: "PA", seq: 101, ack: 501, bytes: 60})
		asked(passing{pod: true, flags: "PA", seq: 501, ack: 161, bytes: 90})
		ask(passing{flags: "PA", seq: 501, ack: 161, bytes: 90})
		var got []string
		took := map[bool]time.Duration{}
		for _, r := range k.requests() {
			got = append(got, fmt.Sprint(outcomeNames[r.Request.Outcome], " ", r.Request.Client, " ", r.First.Destination))
			if r.Request.Outcome == record.Answered {
				took[r.Request.Client] = r.Request.Took
			}
		}
		slices.Sort(got)
		want := []string{"answered false " + source + ":40000", "answered true " + service + ":80", "connected false " + source + ":40000", "connected true " + service + ":80"}
		if !slices.Equal(got, want) {
			t.Errorf("by %s: %q, want %q", source, got, want)
		}
		if took[true] <= took[false] {
			t.Errorf("by %s: the pod has waited for %v and worked for %v", source, took[true], took[false])
		}
		k.reset()
	}
}

// TestLongRequest answers after a minute and a half what was told as unanswered meanwhile: it is measured all the same.
func TestLongRequest(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	const waited = 90 * time.Second
	k.play(append(opening(true), passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60}), false, pod1, pod2, 40000, 80)
	for i := range k.watched {
		for slot := range k.watched[i].Slot {
			k.watched[i].Slot[slot].AskedNs -= uint64(waited)
		}
	}
	l := &Loader{objects: objects{table: k.table, watchedAt: k.watchedAt}}
	if found, err := l.WatchedConnections(); err != nil || len(found.Unanswered) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	k.pass(k.podL2, (&passing{flags: "PA", seq: 501, ack: 161, bytes: 90}).packet(false, pod1, pod2, 40000, 80), 0)
	if got := k.requests(); len(got) != 1 || got[0].Request.Outcome != record.Answered || got[0].Request.Took < waited || got[0].Request.Took > waited+time.Minute {
		t.Errorf("%+v, want an answer after %v", got, waited)
	}
	k.reset()
}
