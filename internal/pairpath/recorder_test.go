package pairpath

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

var devices = journey.NewDevices([]netdev.Device{
	{Index: 1, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 2, Name: "cali2", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 3, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem"}},
	{Index: 4, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "fq_codel"}},
})

var hooks = map[string]record.Hook{"I": record.Ingress, "E": record.Egress, "D": record.Dequeue, "X": record.Xmit, "F": record.Free}

// packet is a record of hops as "I 1 0" (hook, ifindex, milliseconds since the first) between two addresses.
func packet(t *testing.T, kind record.Kind, fingerprint uint64, src, dst, hops string) record.Record {
	t.Helper()
	flow := record.Flow{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst), Protocol: 6}
	r := record.Record{Kind: kind, Attributed: true, Weight: 1, Segments: 1, First: flow, Last: flow, Fingerprint: fingerprintOf(uint32(fingerprint), 1)}
	for hop := range strings.SplitSeq(hops, ",") {
		var hook string
		var index, millis int
		if _, err := fmt.Sscan(hop, &hook, &index, &millis); err != nil {
			t.Fatalf("%q: %v", hop, err)
		}
		r.Time = time.Hour + time.Duration(fingerprint)*time.Second + time.Duration(millis)*time.Millisecond
		r.Hops[r.Len] = record.Hop{Hook: hooks[hook], Ifindex: index, Time: r.Time}
		r.Len++
	}
	return r
}

const (
	web, api = "10.244.1.7:40000", "10.244.2.7:8080"
	service  = "10.96.0.10:80"
	sends    = "I 1 0, E 3 1, X 3 3, E 4 4, X 4 5"
	gets     = "I 4 0, I 3 1, E 1 2, X 1 2"
)

func newTestRecorder() *Recorder {
	return NewRecorder(Query{Src: addresses("10.244.1.7"), Dst: addresses("10.244.2.7", "10.96.0.10")})
}

func addresses(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	r := newTestRecorder()
	translated := packet(t, record.Finished, 1, web, service, sends)
	translated.Last.Destination = netip.MustParseAddrPort(api)
	lost := packet(t, record.Dropped, 2, web, api, "I 1 0, E 3 1, F 3 2")
	lost.Reason, lost.Weight = "QDISC_DROP", 3
	waits := packet(t, record.InFlight, 3, web, api, "I 1 0, E 3 1")
	waits.Time += 19 * time.Second
	answer := packet(t, record.Finished, 4, api, web, gets)
	others := packet(t, record.Finished, 5, web, "10.244.9.9:80", sends)
	gone := packet(t, record.InFlight, 6, web, api, sends) // a slot that nobody needed since
	for _, rec := range []record.Record{translated, lost, waits, answer, others, gone} {
		if got := r.Wants(&rec); got != (rec.Last.Destination.Addr() != others.Last.Destination.Addr()) {
			t.Errorf("wants %v: %v", rec.Last, got)
		}
		r.Add(&rec, devices)
	}
	half := r.Half(10*time.Second, 7, map[aggregate.StageKey]float64{{Stage: journey.Queue, Device: "tunl0", Direction: journey.Out}: 1e-6})
	if half.WindowSeconds != 10 || half.Missed != 7 || half.There.Packets != 2 || half.Back.Packets != 1 {
		t.Errorf("%+v", half)
	}
	var stages []string
	for _, s := range half.There.Stages {
		stages = append(stages, fmt.Sprintf("%s %s %s", s.Direction, s.Stage, s.Device))
	}
	if want := []string{"out forward tunl0", "out queue tunl0", "out encap tunl0", "out queue eth0"}; !reflect.DeepEqual(stages, want) {
		t.Errorf("there: %v, want %v", stages, want)
	}
	q := half.There.Stages[1]
	if q.P50 == nil || *q.P50 < 0.0019 || *q.P50 > 0.0021 || q.Usual == nil || *q.Usual != 1e-6 || q.Lost != 1 || q.Reason != "QDISC_DROP" || q.InFlight != 1 || q.Oldest < 18 {
		t.Errorf("queue tunl0: %+v", q)
	}
	// Of what left and came, the same number on both nodes.
	other := newTestRecorder()
	arrives := packet(t, record.Finished, 1, web, api, "I 4 6, I 3 7, E 2 8, X 2 8")
	other.Add(&arrives, devices)
	answers := packet(t, record.Finished, 4, api, web, "I 2 -9, E 3 -8, X 3 -7, E 4 -6, X 4 -5")
	other.Add(&answers, devices)
	peer := other.Half(10*time.Second, 0, nil)
	w := wireBetween("a", "b", [2]Way{half.There, peer.There}, [2]Way{half.Back, peer.Back})
	if w == nil || w.Joined != 2 || w.Followed != 2 {
		t.Errorf("wire: %+v", w)
	}
}

// TestHidden has packets end at a device that encrypts them: the wire says that its work is part of it.
func TestHidden(t *testing.T) {
	t.Parallel()
	withWireGuard := journey.NewDevices([]netdev.Device{
		{Index: 1, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 5, Name: "wg0", Kind: "wireguard", Role: netdev.RoleOverlay, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	})
	here, there := newTestRecorder(), newTestRecorder()
	for i := range uint64(10) {
		leaves := packet(t, record.Finished, 2*i+1, web, api, "I 1 0, E 5 1, X 5 1")
		comes := packet(t, record.Finished, 2*i+1, web, api, "I 5 2, E 1 3, X 1 3")
		answers := packet(t, record.Finished, 2*i+1, api, web, "I 1 3, E 5 4, X 5 4")
		home := packet(t, record.Finished, 2*i+1, api, web, "I 5 5, E 1 6, X 1 6")
		here.Add(&leaves, withWireGuard)
		there.Add(&comes, withWireGuard)
		there.Add(&answers, withWireGuard)
		here.Add(&home, withWireGuard)
	}
	a, b := here.Half(time.Second, 0, nil), there.Half(time.Second, 0, nil)
	p := Join(onA, onB, []Answer{{Node: "node-a", Half: &a}, {Node: "node-b", Half: &b}})
	if p.Wire == nil || p.Wire.RoundTrip == nil || !reflect.DeepEqual(p.Wire.Hidden, []string{"wg0"}) {
		t.Fatalf("%+v", p.Wire)
	}
	if at := slices.IndexFunc(p.Hops, func(h Hop) bool { return h.Stage == Wired }); at < 0 || p.Hops[at].Device != "wg0" {
		t.Errorf("%+v", p.Hops)
	}
	if !strings.Contains(p.Summary, "is spent in wg0 or the wire between node-a → node-b") {
		t.Error(p.Summary)
	}
	var text strings.Builder
	if err := p.WriteText(&text); err != nil || !strings.Contains(text.String(), "packets are not followed behind wg0") {
		t.Errorf("%v\n%s", err, &text)
	}
}

// TestLargePackets are not the same on the other node.
func TestLargePackets(t *testing.T) {
	t.Parallel()
	r := newTestRecorder()
	large := packet(t, record.Finished, 1, web, api, sends)
	large.Segments, large.Weight = 10, 3
	r.Add(&large, devices)
	split := packet(t, record.Split, 2, web, api, "I 1 0, E 3 1, F 3 2")
	r.Add(&split, devices)
	if half := r.Half(time.Second, 0, nil); half.There.LeftTotal != 0 || half.There.Packets != 4 || half.There.Large != 2 || half.There.Crossed != 4 {
		t.Errorf("%+v", half.There)
	}
}

// TestSamePackets has two nodes keep some of many packets: the same ones.
func TestSamePackets(t *testing.T) {
	t.Parallel()
	var here, there crossings
	const all = 50_000
	for i := range uint64(all) {
		number := i * 0x9e3779b97f4a7c15
		here.add(Crossing{Packet: number, At: int64(i)})
		if i%2 == 0 { // the other one follows half of them
			there.add(Crossing{Packet: number, At: int64(i)})
		}
	}
	here.shorten()
	there.shorten()
	if len(here.kept) != maxCrossings || len(there.kept) != maxCrossings || here.total != all {
		t.Fatalf("%d and %d kept", len(here.kept), len(there.kept))
	}
	if joined, _ := transits(&Way{Left: here.kept}, &Way{Came: there.kept, CameTotal: there.total}, false); len(joined) < maxCrossings*4/10 {
		t.Errorf("%d of %d joined", len(joined), maxCrossings)
	}
}

// TestCutBetweenEqual has the limit fall between two packets of one number, and a flow all of whose packets have the same.
func TestCutBetweenEqual(t *testing.T) {
	t.Parallel()
	var c crossings
	for i := range uint64(maxCrossings + 10) {
		c.add(Crossing{Packet: 10 + i})
	}
	c.add(Crossing{Packet: 10 + maxCrossings - 1})
	c.shorten()
	if numbers := single(c.kept); len(c.kept) != maxCrossings-1 || numbers[10+maxCrossings-1] != nil || numbers[10+maxCrossings-2] == nil {
		t.Errorf("%d kept, the last %+v", len(c.kept), c.kept[len(c.kept)-1])
	}
	for range 10 * maxCrossings {
		c.add(Crossing{Packet: 1})
	}
	c.shorten()
	if numbers := single(c.kept); len(c.kept) < maxCrossings-1 || numbers[1] != nil || numbers[10] == nil {
		t.Errorf("%d kept of many equal ones", len(c.kept))
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	many := Query{Dst: addresses("10.0.0.2"), Window: time.Second}
	for a := netip.MustParseAddr("fd00::1"); len(many.Src) < maxAddresses; a = a.Next() {
		many.Src = append(many.Src, a)
	}
	if err := many.Check(); err == nil || !strings.Contains(err.Error(), "1000 and 1 addresses are more than a request to an agent holds") {
		t.Error(err)
	}
	q := Query{Src: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, Dst: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Window: time.Second}
	if got, err := ParseQuery(q.Values()); err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("%v, %v", got, err)
	}
	for key, value := range map[string]string{"src": "", "dst": "web", "window": "2h"} {
		values := q.Values()
		values.Set(key, value)
		if _, err := ParseQuery(values); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
}

// TestCrossSince keeps of the packets that cross to another node those alone that began when all were followed; stages count all.
func TestCrossSince(t *testing.T) {
	t.Parallel()
	r := newTestRecorder()
	r.CrossSince(time.Hour + 3*time.Second)
	for n := range uint64(5) {
		out, back := packet(t, record.Finished, n+1, web, api, sends), packet(t, record.Finished, n+1, api, web, gets)
		r.Add(&out, devices)
		r.Add(&back, devices)
	}
	h := r.Half(time.Second, 0, nil)
	if len(h.There.Left) != 3 || h.There.LeftTotal != 3 || len(h.Back.Came) != 3 || h.Back.CameTotal != 3 {
		t.Errorf("%d left, %d came, want 3 each", len(h.There.Left), len(h.Back.Came))
	}
	if h.There.Packets != 5 || h.Back.Packets != 5 {
		t.Errorf("%d and %d packets, want 5 each", h.There.Packets, h.Back.Packets)
	}
}

// TestFreedAfterDelivery has packets that came to their pod and were freed there as if they were dropped: by TCP, which had taken them, and by a
// rule of the pod. Neither is another packet, and only the latter is lost.
func TestFreedAfterDelivery(t *testing.T) {
	t.Parallel()
	q := Query{Src: addresses("10.244.1.7"), Dst: addresses("10.244.2.7"), Journeys: 10}
	here, there := NewRecorder(q), NewRecorder(q)
	for n := range uint64(3) {
		left, came := packet(t, record.Finished, n+1, web, api, sends), packet(t, record.Finished, n+1, web, api, gets)
		here.Add(&left, devices)
		there.Add(&came, devices)
	}
	taken, refused := packet(t, record.Dropped, 1, web, api, gets+", F 1 3"), packet(t, record.Dropped, 2, web, api, gets+", F 1 3")
	taken.Reason, taken.Location = "QUEUE_PURGE", "sk_stream_kill_queues"
	refused.Reason, refused.Location = "NETFILTER_DROP", "nf_hook_slow"
	there.Add(&taken, devices)
	there.Add(&refused, devices)
	a, b := here.Half(time.Second, 0, nil), there.Half(time.Second, 0, nil)
	if b.There.Packets != 3 || b.There.CameTotal != 3 {
		t.Errorf("%d packets, %d came, want 3", b.There.Packets, b.There.CameTotal)
	}
	var lost uint64
	for _, s := range b.There.Stages {
		if lost += s.Lost; s.Stage != journey.Deliver && s.Packets != 3 {
			t.Errorf("%d packets passed %s", s.Packets, s.Stage)
		}
	}
	if lost != 1 {
		t.Errorf("%d are lost, want 1", lost)
	}
	if w := wireBetween("a", "b", [2]Way{a.There, b.There}, [2]Way{}); w == nil || w.Joined != 3 || w.Followed != 3 {
		t.Errorf("wire: %+v", w)
	}
	// One by one they are shown once, the one that was lost as such.
	kinds := map[record.Kind]int{}
	for _, k := range there.Journeys() {
		kinds[k.Record.Kind]++
	}
	if want := map[record.Kind]int{record.Finished: 2, record.Dropped: 1}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("kept: %v, want %v", kinds, want)
	}
}
