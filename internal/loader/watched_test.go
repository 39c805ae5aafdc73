package loader

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
	"tracer/test/steady"
)

// TestSYNFlood opens more connections than there is room for; one that is answered is timed all the same.
func TestSYNFlood(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	syn := (&passing{flags: "S", seq: 7}).packet(false, pod1, pod2, 80, 1)
	cookie := (&passing{pod: true, flags: "SA", seq: 8, ack: 8}).packet(false, pod1, pod2, 80, 1)
	atPod := func() { // from now on
		k.pass(k.podL2, syn, 0)
		k.pass(k.fromPodL2, cookie, 0)
	}
	atPod()
	const flood = 40_000
	for i := range flood {
		binary.BigEndian.PutUint32(syn[26:], uint32(0x0a000000+i)) // its source
		if _, err := k.podL2.program.Run(&ebpf.RunOptions{Data: syn}); err != nil {
			t.Fatal(err)
		}
		copy(cookie[30:], syn[26:30]) // the pod answers each
		if _, err := k.fromPodL2.program.Run(&ebpf.RunOptions{Data: cookie}); err != nil {
			t.Fatal(err)
		}
		if i == flood/2 {
			k.play(opening(true), false, pod1, pod2, 40000, 80)
			k.play([]passing{
				{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
				{flags: "PA", seq: 501, ack: 111, bytes: 10, want: "answered 0"},
			}, false, pod1, pod2, 40000, 80)
			atPod()
		}
	}
	if told := k.requests(); len(told) > 0 {
		t.Errorf("%d SYNs of a flood are told as connects, or what else: %+v", len(told), told[0].Request)
	}
	// What has been answered once keeps its slot.
	k.play([]passing{
		{pod: true, flags: "PA", seq: 111, ack: 511, bytes: 10},
		{flags: "PA", seq: 511, ack: 121, bytes: 10, want: "answered 0"},
	}, false, pod1, pod2, 40000, 80)
	if c := k.counters().LeftOut; c["no_room"] > 0 {
		t.Errorf("%d SYNs found no room: a flood's slots are to be given to others", c["no_room"])
	}
	k.reset()
}

// TestWatchedSample watches one in 16 connections, whole, with their weight; and who is watched stays so as fewer are.
func TestWatchedSample(t *testing.T) {
	t.Parallel()
	const oneIn, connections = 16, 4000
	k := newKernel(t, bpfobj.TracerConfig{WatchBelow: AllConnections / oneIn, LookBelow: AllConnections / oneIn, WatchWeight: oneIn})
	pass := func(p *place, s passing, port uint16) {
		if _, err := p.program.Run(&ebpf.RunOptions{Data: s.packet(false, pod1, pod2, port, 80)}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(seq, ack uint32) (got map[uint16]uint32) {
		got = map[uint16]uint32{}
		k.pass(k.fromPodL2, make([]byte, 60), 0) // at a pod's device from now on
		for port := range uint16(connections) {
			pass(k.fromPodL2, passing{pod: true, flags: "PA", seq: seq, ack: ack, bytes: 10}, 33000+port)
			pass(k.podL2, passing{flags: "PA", seq: ack, ack: seq + 10, bytes: 10}, 33000+port)
		}
		for _, r := range k.requests() {
			got[r.First.Source.Port()] = r.Weight
		}
		return got
	}
	first := ask(100, 500)
	// Binomial: the standard error is 15 of 250.
	if n := len(first); n < 180 || n > 320 {
		t.Errorf("of %d connections %d are watched, want one in %d", connections, n, oneIn)
	}
	for i := range k.watched {
		for slot, tag := range k.watched[i].Tag {
			flow := convertFlow(&k.watched[i].Slot[slot].Flow)
			if number := ConnectionNumber(&flow); tag != 0 && number >= AllConnections/oneIn {
				t.Errorf("a connection is watched whose number is %d by our reckoning", number)
			}
		}
	}
	for port, weight := range first {
		if weight != oneIn {
			t.Fatalf("weight %d at port %d, want %d", weight, port, oneIn)
		}
	}
	config := bpfobj.TracerConfig{WatchBelow: AllConnections / 1024, LookBelow: AllConnections / oneIn, WakeupBytes: 1 << 20}
	if err := k.objects.Settings.Set(config); err != nil {
		t.Fatal(err)
	}
	if second := ask(110, 510); len(second) != len(first) {
		t.Errorf("%d connections are watched, %d were before fewer were to be", len(second), len(first))
	}
	// Later as many are watched as there are: those that are left must not count for those that have come back.
	config.WatchBelow, config.LookBelow, config.WatchWeight = AllConnections, AllConnections, 1
	if err := k.objects.Settings.Set(config); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, weight := range ask(120, 520) {
		sum += int(weight)
	}
	if sum < connections*95/100 || sum > connections*105/100 {
		t.Errorf("the requests of %d connections count for %d", connections, sum)
	}
	k.reset()
}

// TestStragglers looks for connections beyond the share for a while, and then has them forgotten.
func TestStragglers(t *testing.T) {
	t.Parallel()
	var w watchedTable
	const half = AllConnections / 2
	for i, step := range []struct {
		below, highest uint64
		at             time.Duration
		want           uint64
	}{
		{AllConnections, 0, time.Second, AllConnections},
		{half, AllConnections - 5, 2 * time.Second, AllConnections - 5},
		{half, AllConnections - 5, time.Minute, AllConnections - 5},
		{half, AllConnections - 5, 3 * time.Minute, half},
		{AllConnections, half, 4 * time.Minute, AllConnections},
	} {
		if got := w.share(step.below, step.highest, step.at); got != step.want {
			t.Errorf("step %d: %d are looked for, want %d", i, got, step.want)
		}
	}
	k := newKernel(t, watchAll)
	k.play(opening(true), false, pod1, pod2, 40000, 80)
	l := &Loader{objects: objects{table: k.table, watchedAt: k.watchedAt}}
	l.watched.look = 1
	if found, err := l.WatchedConnections(); err != nil || found.Held != 0 || k.watchedSlots() != 0 {
		t.Errorf("%+v, %v: the slot of a connection that nobody looks for is to be empty", found, err)
	}
	k.reset()
}

// TestUnanswered finds what waits for longer than a minute, once.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	k.play(append(opening(true), passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60}), false, pod1, pod2, 40000, 80)
	k.play([]passing{{pod: true, flags: "S", seq: 100}}, false, pod1, pod2, 40001, 80)
	k.play(opening(true), false, pod1, pod2, 40002, 80)
	l := &Loader{objects: objects{table: k.table, watchedAt: k.watchedAt}}
	look := func() (told []record.Outcome) {
		found, err := l.WatchedConnections()
		if err != nil {
			t.Fatal(err)
		}
		if found.Held != 1 || found.highest == 0 || found.highest > AllConnections {
			t.Errorf("%+v, want one slot held, that of who waits", found)
		}
		for _, r := range found.Unanswered {
			told = append(told, r.Request.Outcome)
			if r.Request.Took < requestTimeout || !r.Request.Client {
				t.Errorf("%+v", r.Request)
			}
		}
		slices.Sort(told)
		return told
	}
	if told := look(); len(told) > 0 {
		t.Errorf("told of %v at once", told)
	}
	for i := range k.watched {
		for slot := range k.watched[i].Slot {
			k.watched[i].Slot[slot].AskedNs -= uint64(requestTimeout)
		}
	}
	if told := look(); !slices.Equal(told, []record.Outcome{record.TimedOut, record.ConnectTimeout}) {
		t.Errorf("told of %v after a minute", told)
	}
	if told := look(); len(told) > 0 {
		t.Errorf("told of %v again", told)
	}
	l.watched.below = 1
	if found, err := l.WatchedConnections(); err != nil || found.Held != 0 || found.highest == 0 {
		t.Errorf("%+v, %v: one beyond the share goes on and is not counted", found, err)
	}
	k.reset()
}

// TestHalfClosed finds what a client has given up by its FIN, once some seconds have passed, and not what it closes at once, or what it asks over a
// connection that the other end had closed.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	l := &Loader{objects: objects{table: k.table, watchedAt: k.watchedAt}}
	question := passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 60}
	steady.Measure(t, func() string {
		k.play(opening(true), false, pod1, pod2, 40001, 80)
		began := time.Now()
		k.play([]passing{question, {pod: true, flags: "FA", seq: 161, ack: 501}}, false, pod1, pod2, 40001, 80)
		took := time.Since(began)
		if took < 10*time.Millisecond {
			return ""
		}
		k.reset()
		return fmt.Sprintf("a FIN that comes %v behind its payload may be no farewell", took)
	})
	before := Monotonic()
	k.play(append(opening(true), question, passing{pod: true, flags: "FA", seq: 161, ack: 501, wait: farewell}), false, pod1, pod2, 40000, 80)
	waited := Monotonic() - before // longer than until the FIN
	k.play(append(opening(true), passing{flags: "FA", seq: 501, ack: 101}, passing{pod: true, flags: "PA", seq: 101, ack: 502, bytes: 60}), false, pod1, pod2, 40002, 80)
	k.play(append(opening(true), question), false, pod1, pod2, 40003, 80)
	for i, want := range []int{0, 1, 0} {
		found, err := l.WatchedConnections()
		if err != nil || len(found.Unanswered) != want {
			t.Fatalf("look %d: %+v, %v; want %d", i, found, err, want)
		}
		for _, r := range found.Unanswered {
			if r.Request.Outcome != record.HalfClosed || !r.Request.Client || r.Request.Took < farewell || r.Request.Took > waited || r.First != flow(pod1, pod2, 40000, 80, record.ProtocolTCP) {
				t.Errorf("%+v with %+v", r, r.Request)
			}
		}
		if i == 0 {
			for b := range k.watched {
				for slot := range k.watched[b].Slot {
					k.watched[b].Slot[slot].AskedNs -= uint64(givenUpAfter)
					k.watched[b].Slot[slot].ClosedNs -= uint64(givenUpAfter)
				}
			}
		}
	}
	k.reset()
}

// TestLeftOut finds connections that turned out not to alternate, once, and of those alone of which something was timed.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	k := newKernel(t, watchAll)
	k.play(append(
		opening(true),
		passing{pod: true, flags: "PA", seq: 101, ack: 501, bytes: 10},
		passing{flags: "PA", seq: 501, ack: 111, bytes: 90, want: "answered 3"},
		passing{pod: true, flags: "PA", seq: 111, ack: 591, bytes: 10},
		passing{pod: true, flags: "PA", seq: 121, ack: 591, bytes: 10, wait: pause},
		passing{flags: "PA", seq: 591, ack: 131, bytes: 90},
		passing{pod: true, flags: "PA", seq: 131, ack: 681, bytes: 10},
		passing{pod: true, flags: "PA", seq: 141, ack: 681, bytes: 10, wait: pause},
	), false, pod1, pod2, 40000, 80)
	k.play([]passing{{pod: true, flags: "PA", seq: 1, ack: 1, bytes: 10}}, false, pod1, pod2, 40001, 40002) // nobody knows who asks
	if c := k.counters().LeftOut; c["not_alternating"] != 1 || c["unknown_client"] != 1 {
		t.Fatalf("left out are %v", c)
	}
	l := &Loader{objects: objects{table: k.table, watchedAt: k.watchedAt}}
	for i, want := range []int{1, 0} {
		found, err := l.WatchedConnections()
		if err != nil || len(found.LeftOut) != want || len(found.Unanswered) > 0 {
			t.Fatalf("look %d: %+v, %v", i, found, err)
		}
		for _, r := range found.LeftOut {
			if r.Request.Outcome != record.LeftOut || !r.Request.Client || r.First != flow(pod1, pod2, 40000, 80, record.ProtocolTCP) {
				t.Errorf("%+v", r)
			}
		}
	}
	k.reset()
}

// TestSampleIsFair draws one in 16 connections by their numbers, as the programs do, of clients whose requests take longer the later their
// address and the higher their port, and others whose do not: mean and p99 of the sample are those of all within 5 %.
func TestSampleIsFair(t *testing.T) {
	t.Parallel()
	const oneIn, clients, ports = 16, 60, 3000
	random := rand.New(rand.NewPCG(1, 2))
	times := map[string]func(client, port int) float64{
		"like an application's": func(int, int) float64 { return 0.002 * math.Exp(0.5*random.NormFloat64()) },
		"slower by client":      func(client, _ int) float64 { return 0.002 * (1 + float64(client)/clients) },
		"slower by port":        func(_, port int) float64 { return 0.002 * (1 + float64(port)/ports) },
		"every second port":     func(_, port int) float64 { return 0.002 * float64(1+port%2) },
		"some are very slow":    func(client, _ int) float64 { return []float64{0.002, 0.5}[min(1, client%20/19)] },
	}
	for _, six := range []bool{false, true} {
		for _, name := range slices.Sorted(maps.Keys(times)) {
			var all, sample []float64
			for client := range clients {
				source, server := netip.AddrFrom4([4]byte{10, 1, byte(client % 3), byte(2 + client)}), netip.MustParseAddr("10.2.0.1")
				if six {
					source, server = netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(client % 3), 15: byte(2 + client)}), netip.MustParseAddr("fd00::2:1")
				}
				for port := range ports {
					took := times[name](client, port)
					all = append(all, took)
					f := record.Flow{Source: netip.AddrPortFrom(source, uint16(32768+2*port)), Destination: netip.AddrPortFrom(server, 80), Protocol: record.ProtocolTCP}
					if ConnectionNumber(&f) < AllConnections/oneIn {
						sample = append(sample, took)
					}
				}
			}
			mean := func(list []float64) (sum float64) {
				for _, x := range list {
					sum += x / float64(len(list))
				}
				return sum
			}
			p99 := func(list []float64) float64 {
				slices.Sort(list)
				return list[len(list)*99/100]
			}
			off := func(got, want float64) float64 { return math.Abs(got/want - 1) }
			n, m, p := off(float64(len(sample)*oneIn), clients*ports), off(mean(sample), mean(all)), off(p99(sample), p99(all))
			t.Logf("IPv6 %v, %s: off by %.1f %% (number), %.1f %% (mean), %.1f %% (p99)", six, name, 100*n, 100*m, 100*p)
			if n > 0.05 || m > 0.05 || p > 0.05 {
				t.Errorf("IPv6 %v, %s: %d of %d, off by %.3f (number), %.3f (mean) and %.3f (p99)", six, name, len(sample), len(all), n, m, p)
			}
		}
	}
}
