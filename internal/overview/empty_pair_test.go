package overview

import (
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// TestEmptyPairs shows no rows of zeros beside those of the packets, and loses nothing that they say.
func TestEmptyPairs(t *testing.T) {
	t.Parallel()
	in := story()
	checkout := func(direction journey.Direction, change func(*aggregate.Pair)) {
		p := aggregate.Pair{PairKey: pairKey("shop", "checkout", "shop", "cart", direction)}
		change(&p)
		in.Window.Pairs = append(in.Window.Pairs, p)
	}
	lost := aggregate.DropCount{Packets: 5, DropKey: aggregate.DropKey{
		StageKey: key(journey.Deliver, "pod", journey.In), Reason: "NETFILTER_DROP", Loss: true,
	}}
	checkout(journey.Out, func(p *aggregate.Pair) { p.TCP = &aggregate.TCP{Retransmits: 3} })
	checkout(journey.In, func(p *aggregate.Pair) { p.Drops = []aggregate.DropCount{lost} })
	alone := aggregate.Pair{PairKey: pairKey("shop", "checkout", "shop", "gone", journey.Out), TCP: &aggregate.TCP{Retransmits: 2}}
	blocked := aggregate.Pair{PairKey: webToAPI, Drops: []aggregate.DropCount{lost}}
	blocked.Direction = journey.In
	in.Window.Pairs = append(in.Window.Pairs, alone, blocked)
	before := len(in.Window.Pairs)

	for _, by := range []By{ByPair, ByService} {
		rows := 0
		for _, r := range Build(in, query(t, by, "", "")).Rows {
			switch {
			case r.Service == "shop/cart" || r.Dst.Workload == "cart":
				rows++
				if r.Direction != journey.Local || r.PacketsPerSecond != 6 || r.TCP == nil || r.TCP.Retransmits != 3 || r.Drops.Packets != 5 {
					t.Errorf("%s: %+v", by, r)
				}
			case r.Dst.Workload == "gone", r.Direction == journey.In && r.Drops.Packets == 5:
				rows++ // the only one to say so
			}
		}
		if rows != 3 {
			t.Errorf("%s: %d rows, want 3", by, rows)
		}
	}
	// What is lost before the Service's pod is chosen is its pair's, where there is one.
	toService := func(service string) aggregate.Pair {
		key := pairKey("default", "web", "default", aggregate.UnknownWorkload, journey.Out)
		return aggregate.Pair{PairKey: key, Service: service, Drops: []aggregate.DropCount{lost}}
	}
	in.Window.Pairs = append(in.Window.Pairs, toService("default/api"), toService("default/other"))
	before += 2
	lostTo := map[string]uint64{}
	for _, r := range Build(in, query(t, ByPair, "dir=out src=web", "")).Rows {
		lostTo[r.Dst.Workload+" by "+r.Service] += r.Drops.Packets
	}
	if len(lostTo) != 2 || lostTo["api by default/api"] != 55 || lostTo["_unknown by default/other"] != 5 {
		t.Errorf("lost on the way to Services: %v", lostTo)
	}
	if len(in.Window.Pairs) != before || in.Window.Pairs[3].TCP != nil {
		t.Error("the window that others look at was changed")
	}
}

// TestRequestsOfEmptyPairs adds the requests of a pair without packets to those of the pair that has them, and shows those of one alone.
func TestRequestsOfEmptyPairs(t *testing.T) {
	t.Parallel()
	in := story()
	asked := func(src, dst string) aggregate.Pair {
		p := aggregate.Pair{PairKey: pairKey("shop", src, "shop", dst, journey.Out), Requests: &aggregate.Requests{}}
		p.Requests.Client.Answered.ObserveDuration(time.Millisecond, 3)
		return p
	}
	in.Window.Pairs = append(in.Window.Pairs, asked("checkout", "cart"), asked("checkout", "gone"))
	before := in.Window.Pairs[0]
	for _, by := range []By{ByPair, ByService} {
		o := Build(in, query(t, by, "", ""))
		rows := 0
		for _, r := range o.Rows {
			if r.Service == "shop/cart" || r.Dst.Workload == "cart" || r.Dst.Workload == "gone" {
				rows++
			}
		}
		if rows != 2 {
			t.Errorf("%s: %d rows, want 2", by, rows)
		}
	}
	w := withoutEmptyPairs(in.Window)
	for i := range w.Pairs {
		if p := &w.Pairs[i]; p.DstWorkload == "cart" && p.SrcWorkload == "checkout" && (p.Requests == nil || p.Requests.Client.Answered.Count() != 3) {
			t.Errorf("the pair with packets has %+v", p.Requests)
		}
	}
	if before.Requests != in.Window.Pairs[0].Requests {
		t.Error("the window itself has changed")
	}
}
