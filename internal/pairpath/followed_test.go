package pairpath

import (
	"math/bits"
	"strings"
	"testing"
	"time"

	"tracer/internal/record"
)

// segment is a TCP packet of node-a's pod with a payload of 1,000 bytes at a sequence number.
func segment(t *testing.T, number uint32, hops string) record.Record {
	t.Helper()
	r := packet(t, record.Finished, 1, web, api, hops)
	r.Fingerprint, r.IPBytes, r.WireBytes = fingerprintOf(number, bits.ReverseBytes32(number)), 1052, 1066
	return r
}

// TestMerged has GRO put packets together: before the first hook, as a network card's driver does, and behind it, as a tunnel's device does.
// They are not joined, and counted by name; what else does not come is neither, even if it was sent right behind them.
func TestMerged(t *testing.T) {
	t.Parallel()
	const alone, head, within, behind, large, inLarge, behindLarge, lost, last = 1000, 20_000, 21_000, 22_000, 30_000, 32_000, 33_000, 50_000, 90_000
	here, there := newTestRecorder(), newTestRecorder()
	for _, number := range []uint32{alone, head, within, behind, large, inLarge, behindLarge, lost, last} {
		r := segment(t, number, sends)
		here.Add(&r, devices)
	}
	big := segment(t, 70_000, sends)
	big.Segments, big.IPBytes = 4, 4052
	here.Add(&big, devices)
	for number, change := range map[uint32]func(*record.Record){
		alone: func(*record.Record) {},
		head:  func(r *record.Record) { r.WireBytes += 1066 }, // it took another in behind its first hook
		large: func(r *record.Record) { r.Segments, r.IPBytes, r.WireBytes = 3, 3052, 3*1066 },
		last:  func(*record.Record) {},
	} {
		r := segment(t, number, gets)
		change(&r)
		there.Add(&r, devices)
	}
	a, b := here.Half(time.Second, 0, nil), there.Half(time.Second, 0, nil)
	for _, c := range [][]Crossing{a.There.Left, b.There.Came} {
		for i := range c {
			c[i].At = int64(c[i].Seq) // one after another
		}
	}
	p := Join(onA, onB, []Answer{{Node: "node-a", Half: &a}, {Node: "node-b", Half: &b}})
	w := p.Wire
	if w == nil || w.Joined != 3 || w.Followed != 9 || w.Merged != 3 || w.Large != 1 {
		t.Fatalf("%+v", w)
	}
	back := Half{WindowSeconds: 1, Back: Way{Came: []Crossing{{Packet: 1, At: 1500}}}}
	a.Back, b.Back = back.Back, Way{Left: []Crossing{{Packet: 1, At: 1400}}}
	p = Join(onA, onB, []Answer{{Node: "node-a", Half: &a}, {Node: "node-b", Half: &b}})
	var text strings.Builder
	if err := p.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if want := "by 4 of 10 packets, those that both nodes followed (at least 3 more were merged where they came, by GRO); 1 packets of several segments besides"; !strings.Contains(text.String(), want) {
		t.Errorf("%s\nwant %s", &text, want)
	}
}

// TestSampledWire has one node follow one in 8 and the other one in 64, beside what quotas let through: of what either follows by chance the
// other follows what it must, or it counts as not joined.
func TestSampledWire(t *testing.T) {
	t.Parallel()
	// Of the numbers that both follow by chance one is lost. With each node's quota go packets that the other does not follow.
	few := []Crossing{{Packet: 1, At: 10, OneIn: 64}, {Packet: 2, At: 20, OneIn: 64}, {Packet: 3, At: 30, OneIn: 64}, {Packet: 4, At: 40}, {Packet: 5, At: 50, OneIn: 64}}
	many := []Crossing{{Packet: 1, At: 110, OneIn: 8}, {Packet: 2, At: 120, OneIn: 8}, {Packet: 5, At: 150, OneIn: 8}, {Packet: 6, At: 125, OneIn: 8}, {Packet: 7, At: 130}, {Packet: 8, At: 135, OneIn: 8}}
	for name, test := range map[string]struct {
		left, came   []Crossing
		joined, want int
	}{
		"the first node follows fewer":  {few, many, 3, 4},
		"the second node follows fewer": {many, few, 3, 4},
		"the second one follows all":    {few, []Crossing{{Packet: 1, At: 110}, {Packet: 2, At: 120}, {Packet: 4, At: 140}, {Packet: 5, At: 150}, {Packet: 6, At: 145}}, 4, 5},
	} {
		got, followed := transits(&Way{Left: test.left}, &Way{Came: test.came}, false)
		if len(got) != test.joined || followed.packets != test.want {
			t.Errorf("%s: joined %d of %d, want %d of %d", name, len(got), followed.packets, test.joined, test.want)
		}
	}
}

// TestUsualOneIn leaves alone what a few packets stand for besides, as for others without room.
func TestUsualOneIn(t *testing.T) {
	t.Parallel()
	of := func(certain int, others ...uint32) (all []Crossing) {
		all = make([]Crossing, certain)
		for _, n := range others {
			all = append(all, Crossing{OneIn: n})
		}
		return all
	}
	for _, test := range []struct {
		all  []Crossing
		want uint32
	}{{nil, 0}, {of(10), 0}, {of(10, 2, 2), 0}, {of(2, 8, 8, 9, 8, 16, 8), 8}, {of(10, 64, 64, 64, 65), 64}} {
		if got := usualOneIn(test.all); got != test.want {
			t.Errorf("%+v: %d, want %d", test.all, got, test.want)
		}
	}
}
