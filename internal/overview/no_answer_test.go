package overview

import (
	"net/netip"
	"slices"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// TestNoAnswer shows of a pair that it gets no answer, where somebody waits for one.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	silent := aggregate.Unanswered{
		PairKey: webToAPI, Destination: netip.MustParseAddrPort("10.244.2.3:8080"), Protocol: record.ProtocolTCP, Client: true,
		Tries: 9, Seconds: 6, Packets: 9, Connections: 1, Retransmits: 7, First: 12, Last: 2, Ifindex: 4,
	}
	of := func(all ...aggregate.Unanswered) *Row {
		in := story()
		in.Window.Unanswered = all
		rows := Build(in, query(t, ByPair, "", "")).Rows
		return &rows[slices.IndexFunc(rows, func(r Row) bool { return r.Key() == webToAPI })]
	}
	with := func(change func(*aggregate.Unanswered)) aggregate.Unanswered {
		u := silent
		change(&u)
		return u
	}
	longer := with(func(u *aggregate.Unanswered) { u.First, u.Answers = 30, 5 })
	r := of(silent, longer)
	if n := r.NoAnswer; n == nil || n.Seconds != 30 || !n.Before || n.Destination != "10.244.2.3:8080" || n.Protocol != "tcp" {
		t.Errorf("%+v", r.NoAnswer)
	}
	if none := of(); none.NoAnswer != nil || r.Pain <= none.Pain {
		t.Errorf("pain %v, without an answer %v; %+v", none.Pain, r.Pain, none.NoAnswer)
	}
	for name, u := range map[string]aggregate.Unanswered{
		"another pair":        with(func(u *aggregate.Unanswered) { u.Direction = journey.In }),
		"for a second":        with(func(u *aggregate.Unanswered) { u.First = 1 }),
		"refused":             with(func(u *aggregate.Unanswered) { u.Refused = true }),
		"lost here":           with(func(u *aggregate.Unanswered) { u.Dropped = 8 }),
		"a connection's last": with(func(u *aggregate.Unanswered) { u.Connections, u.Retransmits = 0, 0 }),
		"reports":             with(func(u *aggregate.Unanswered) { u.Protocol, u.Retransmits = record.ProtocolUDP, 0 }),
		"the node's ICMP":     with(func(u *aggregate.Unanswered) { u.Protocol, u.Ifindex = record.ProtocolICMP, 0 }),
	} {
		if n := of(u).NoAnswer; n != nil {
			t.Errorf("%s: %+v", name, n)
		}
	}
	for name, u := range map[string]aggregate.Unanswered{
		"DNS":             with(func(u *aggregate.Unanswered) { u.Protocol, u.Query = record.ProtocolUDP, true }),
		"answered before": with(func(u *aggregate.Unanswered) { u.Protocol, u.Answers = record.ProtocolUDP, 9 }),
		"ping":            with(func(u *aggregate.Unanswered) { u.Protocol = record.ProtocolICMP }),
	} {
		if of(u).NoAnswer == nil {
			t.Errorf("%s: nothing is shown", name)
		}
	}
}

// TestNoAnswerByFlow shows of a flow that it gets no answer, and one that is tried too seldom to have a packet in the window.
func TestNoAnswerByFlow(t *testing.T) {
	t.Parallel()
	silent := aggregate.Unanswered{
		PairKey: webToAPI, Source: netip.MustParseAddrPort("10.244.1.2:0"), Destination: netip.MustParseAddrPort("10.244.2.3:8080"), Protocol: record.ProtocolUDP,
		Client: true, Query: true, Tries: 9, Seconds: 6, Packets: 9, First: 12, Last: 2,
	}
	of := func(u ...aggregate.Unanswered) []Row {
		in := story()
		in.Window.Unanswered = u
		return Build(in, query(t, ByFlow, "", "")).Rows
	}
	answered := of()
	pain := func(rows []Row) (sum float64) {
		for i := range rows {
			sum += rows[i].Pain
		}
		return sum
	}
	if rows := of(silent); len(rows) != len(answered) || rows[0].NoAnswer == nil || rows[0].Dst.Address != "10.244.2.3:8080" || pain(rows) <= pain(answered) {
		t.Errorf("%d rows, the first %+v", len(rows), rows[0])
	}
	seldom := silent
	seldom.Destination, seldom.Asked = netip.MustParseAddrPort("10.244.2.9:8080"), netip.MustParseAddrPort("10.96.0.10:80")
	rows := of(silent, seldom)
	at := slices.IndexFunc(rows, func(r Row) bool { return r.Dst.Address == "10.244.2.9:8080" })
	if len(rows) != len(answered)+1 || at < 0 {
		t.Fatalf("%+v", rows)
	}
	if r := rows[at]; r.NoAnswer == nil || r.NoAnswer.Seconds != 12 || r.Src.Address != "10.244.1.2" || r.Service != "10.96.0.10:80" || r.Key() != webToAPI || r.PacketsPerSecond != 0 {
		t.Errorf("%+v", r)
	}
	seldom.Translated = true // its source is not the sender's own address
	if rows := of(seldom); len(rows) != len(answered) {
		t.Errorf("%+v", rows)
	}
}
