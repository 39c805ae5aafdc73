package pairpath

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/golden"
	"tracer/internal/record"
	"tracer/internal/trace"
)

// nobody knows no names.
type nobody struct{}

func (nobody) Lookup(netip.Addr, time.Duration) aggregate.Identity { return aggregate.Identity{} }

// halfOf is what a node saw, with single packets, by a clock that is ahead.
func halfOf(t *testing.T, recs []record.Record, ahead time.Duration) *Half {
	t.Helper()
	q := Query{Src: addresses("10.244.1.7"), Dst: addresses("10.244.2.7", "10.96.0.10"), Journeys: 10}
	r := NewRecorder(q)
	for i := range recs {
		rec := recs[i]
		rec.Time += ahead
		for n := range rec.Len {
			rec.Hops[n].Time += ahead
		}
		r.Add(&rec, devices)
	}
	h := r.Half(time.Second, 0, nil)
	h.Journeys = []Journey{}
	for _, k := range r.Journeys() {
		tr, err := trace.New(&k.Record, devices, nobody{}, time.Unix(1e9, 0).Add(-ahead))
		if err != nil {
			t.Fatal(err)
		}
		h.Journeys = append(h.Journeys, Journey{Way: k.Way, Side: k.Side, Packet: k.Packet, At: k.At, Trace: tr})
	}
	return &h
}

// bothSides are packets 1 to 3 there, of which the third waits on the first node, their answers 11 to 13, and one that is lost before it
// leaves. Between the nodes a packet is for 10 ms there and 20 ms back.
func bothSides(t *testing.T) []Answer {
	t.Helper()
	shift := func(r record.Record, by time.Duration) record.Record {
		r.Time += by
		for n := range r.Len {
			r.Hops[n].Time += by
		}
		return r
	}
	var a, b []record.Record
	for n := range uint64(3) {
		hops := sends
		if n == 2 {
			hops = "I 1 0, E 3 1, X 3 403, E 4 404, X 4 405"
		}
		out := packet(t, record.Finished, n+1, web, service, hops)
		out.Last.Destination = netip.MustParseAddrPort(api)
		a = append(a, out)
		left := out.Hops[out.Len-1].Time
		in := packet(t, record.Finished, n+1, web, api, gets)
		b = append(b, shift(in, left+10*time.Millisecond-in.Hops[0].Time))
		home := shift(packet(t, record.Finished, n+11, api, web, sends), left+30*time.Millisecond-(time.Hour+time.Duration(n+11)*time.Second))
		b = append(b, home)
		back := packet(t, record.Finished, n+11, api, web, gets)
		a = append(a, shift(back, home.Hops[home.Len-1].Time+20*time.Millisecond-back.Hops[0].Time))
	}
	lost := packet(t, record.Dropped, 4, web, api, "I 1 0, E 3 1, F 3 2")
	lost.Reason, lost.Location = "QDISC_DROP", "__dev_queue_xmit"
	a = append(a, lost)
	return []Answer{{Node: "node-a", Half: halfOf(t, a, 0)}, {Node: "node-b", Half: halfOf(t, b, 3*time.Second)}}
}

// TestPackets shows the slowest packet over both nodes, though their clocks are 3 s apart.
func TestPackets(t *testing.T) {
	t.Parallel()
	p := JoinPackets(onA, onB, bothSides(t), Choice{Most: 2})
	if p.Joined != 6 || len(p.Packets) != 2 || p.ExitCode() != 0 {
		t.Fatalf("%d joined, %d chosen", p.Joined, len(p.Packets))
	}
	slow := p.Packets[0]
	if slow.Way != There || len(slow.Legs) != 2 || slow.Legs[0].Node != "node-a" || slow.Legs[1].Node != "node-b" || slow.Lost() {
		t.Fatalf("%+v", slow)
	}
	// 30 ms out and back together; each way is known up to half of that.
	if w := slow.Wire; w == nil || math.Abs(*w-0.015) > 1e-3 || *slow.WireUncertainty < 0.014 || *slow.WireUncertainty > 0.017 {
		t.Errorf("wire %v ± %v", slow.Wire, slow.WireUncertainty)
	}
	if want := 0.405 + 0.002 + *slow.Wire; math.Abs(slow.TotalSeconds-want) > 1e-6 {
		t.Errorf("took %v, want %v", slow.TotalSeconds, want)
	}
	if back := p.Packets[1]; back.Way != Back && back.Way != There {
		t.Errorf("%+v", back)
	}
}

// TestPacketChoice shows lost packets, those of one way, slow ones, and says where there is none.
func TestPacketChoice(t *testing.T) {
	t.Parallel()
	lost := JoinPackets(onA, onB, bothSides(t), Choice{Most: 10, DropsOnly: true})
	if len(lost.Packets) != 1 || !lost.Packets[0].Lost() || lost.Packets[0].Legs[0].Trace.Drop.Reason != "QDISC_DROP" {
		t.Errorf("%+v", lost.Packets)
	}
	if back := JoinPackets(onA, onB, bothSides(t), Choice{Most: 10, Way: Back}).Packets; len(back) != 3 || back[0].Legs[0].Node != "node-b" {
		t.Errorf("%+v", back)
	}
	if slow := JoinPackets(onA, onB, bothSides(t), Choice{Most: 10, Seconds: 0.3}).Packets; len(slow) != 1 {
		t.Errorf("%+v", slow)
	}
	none := JoinPackets(onA, onB, bothSides(t), Choice{Most: 10, Seconds: 3})
	if none.ExitCode() != 3 {
		t.Errorf("exit code %d", none.ExitCode())
	}
	older := bothSides(t)
	older[1].Half.Journeys = nil
	alone := JoinPackets(onA, onB, older, Choice{Most: 10})
	if alone.Joined != 0 || len(alone.Packets) == 0 || alone.Nodes[1].Error != errOld.Error() {
		t.Errorf("%+v", alone.Nodes)
	}
	if nobody := JoinPackets(onA, onB, []Answer{{Node: "node-a", Err: errOld}}, Choice{Most: 1}); nobody.ExitCode() != 1 {
		t.Errorf("exit code %d", nobody.ExitCode())
	}
}

// TestPacketText draws one over both nodes and one that was lost.
func TestPacketText(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	for _, choice := range []Choice{{Most: 1}, {Most: 1, DropsOnly: true}, {Most: 1, Seconds: 3}} {
		p := JoinPackets(onA, onB, bothSides(t), choice)
		for i := range p.Packets {
			for j := range p.Packets[i].Legs {
				p.Packets[i].Legs[j].Trace.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
			}
		}
		if err := p.WriteText(&text); err != nil {
			t.Fatal(err)
		}
	}
	golden.Check(t, "testdata/packets.txt", text.Bytes())
}

// TestKeptJourneys keeps those with the least numbers, of which the other node keeps the same.
func TestKeptJourneys(t *testing.T) {
	t.Parallel()
	var out, in []record.Record
	for n := range uint64(100) {
		out = append(out, packet(t, record.Finished, n+1, web, api, sends))
		in = append(in, packet(t, record.Finished, 100-n, web, api, gets))
	}
	a, b := halfOf(t, out, 0), halfOf(t, in, time.Second)
	if len(a.Journeys) != 10 || len(b.Journeys) != 10 {
		t.Fatalf("%d and %d kept", len(a.Journeys), len(b.Journeys))
	}
	for i := range a.Journeys {
		if a.Journeys[i].Packet != b.Journeys[i].Packet || a.Journeys[i].Side != Left || b.Journeys[i].Side != Came {
			t.Errorf("%d: %+v, %+v", i, a.Journeys[i], b.Journeys[i])
		}
	}
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back Half
	if err := json.Unmarshal(data, &back); err != nil || len(back.Journeys) != 10 || back.Journeys[3].Packet != a.Journeys[3].Packet {
		t.Errorf("read back %v, %v", back.Journeys, err)
	}
}
