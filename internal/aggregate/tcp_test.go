package aggregate

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// connection is a record of one, from its own end's view, so many milliseconds after the hour.
func connection(src, dst string, millis int, c record.TCP) *record.Record {
	flow := flowOf(src, dst)
	return &record.Record{Kind: record.Connection, First: flow, Last: flow, Time: time.Hour + time.Duration(millis)*time.Millisecond, TCP: &c}
}

func pairOf(t *testing.T, s *Snapshot, src, dst string, direction journey.Direction) *Pair {
	t.Helper()
	for i := range s.Pairs {
		if p := &s.Pairs[i]; p.SrcWorkload == src && p.DstWorkload == dst && p.Direction == direction {
			return p
		}
	}
	t.Fatalf("no pair %s → %s %s in %+v", src, dst, direction, s.Pairs)
	return nil
}

// TestConnectionThroughService counts for the pair of those who talk, though this end knows the Service's address alone.
func TestConnectionThroughService(t *testing.T) {
	t.Parallel()
	a := New(Options{Namer: cluster})
	a.SetDevices(node)
	sent := request(record.Finished)
	a.Add(&sent)
	answer := newRecord(record.Finished, flowOf("10.2.0.1:80", "10.1.0.1:4000"), flowOf("10.9.0.1:80", "10.1.0.1:4000"),
		hop(record.Ingress, 4, 600), hop(record.Egress, 1, 610), hop(record.Xmit, 1, 612))
	answer.Last = record.Flow{Source: sent.First.Destination, Destination: sent.First.Source, Protocol: 6}
	answer.First = record.Flow{Source: sent.Last.Destination, Destination: sent.First.Source, Protocol: 6}
	a.Add(&answer)
	before := a.Snapshot()
	end := func(millis int, c record.TCP) {
		a.Add(connection(sent.First.Source.String(), sent.First.Destination.String(), millis, c))
	}
	end(1, record.TCP{Ifindex: 1, RTT: 300 * time.Millisecond, Segments: 9, Retransmits: 2, Spurious: 1, Delivered: 6, Deliver: 20 * time.Microsecond})
	end(101, record.TCP{Ifindex: 1, Span: 100 * time.Millisecond, RTT: 500 * time.Millisecond, Segments: 1, Unread: 3000, ReceiveWindow: 1000, Read: 1500,
		Unsent: 7, SendWindow: 100, MSS: 1400, RWNDLimited: 60 * time.Millisecond})
	w := a.Snapshot().Since(before)

	out := pairOf(t, w, "web", "api", journey.Out).TCP
	if out.RTT.Count() != 2 || out.Segments != 10 || out.Retransmits != 2 || out.Spurious != 1 || out.Delivered != 6 {
		t.Errorf("of what it sends: %+v", out)
	}
	near := func(got, want float64) bool { return got > want*0.99 && got < want*1.01 }
	if !near(out.SendPending, 0.1) || !near(out.WindowClosed, 0.1) || !near(out.RWNDLimited, 0.06) || out.UnreadSeconds != 0 {
		t.Errorf("of the other end's window: %+v", out)
	}
	back := pairOf(t, w, "api", "web", journey.In)
	// 3000 bytes at 1500 in 100 ms.
	if in := back.TCP; !near(in.UnreadSeconds, 0.1) || !near(in.BufferFull, 0.1) || in.Unread.Count() != 1 || !near(in.Unread.Sum(), 0.2) || in.Segments != 0 {
		t.Errorf("of what it receives: %+v", in)
	}
	if len(back.Stages) != 1 || back.Stages[0].Stage != journey.Deliver || back.Stages[0].Device != netdev.PodLabel || !near(back.Stages[0].Delay.Sum(), 20e-6) {
		t.Errorf("stages %+v, want deliver alone", back.Stages)
	}
	if n := len(w.Pairs); n != 2 {
		t.Errorf("%d pairs", n)
	}
	for _, f := range w.Flows {
		if f.Direction == journey.Out && (f.TCP.RTTs != 2 || !near(f.TCP.RTTSeconds, 0.8) || f.TCP.Retransmits != 2) {
			t.Errorf("flow %+v", f.TCP)
		}
	}
	if next := a.Snapshot().Since(a.Snapshot()); len(next.Pairs) != 0 {
		t.Errorf("nothing happened, and there are %+v", next.Pairs)
	}
}

// TestConnectionByName counts connections without a flow by their addresses, unless one is a Service's.
func TestConnectionByName(t *testing.T) {
	t.Parallel()
	a := New(Options{Namer: cluster})
	a.SetDevices(node)
	a.Add(connection("10.1.0.1:4000", "10.2.0.1:80", 1, record.TCP{Retransmits: 3}))
	a.Add(connection("10.1.0.1:4001", "10.9.0.1:80", 2, record.TCP{Retransmits: 4}))
	s := a.Snapshot()
	if p := pairOf(t, s, "web", "api", journey.Out); p.TCP.Retransmits != 3 || len(s.Pairs) != 2 {
		t.Errorf("%+v of %d pairs", p.TCP, len(s.Pairs))
	}
}

// TestConnectionOnOneNode counts connections without a flow for the pair that has the packets, whatever way they go.
func TestConnectionOnOneNode(t *testing.T) {
	t.Parallel()
	a := New(Options{Namer: cluster, MaxFlows: 1})
	a.SetDevices(node)
	flow := flowOf("10.1.0.1:4000", "10.2.0.1:80")
	there := newRecord(record.Finished, flow, flow, hop(record.Ingress, 1, 0), hop(record.Egress, 2, 10), hop(record.Xmit, 2, 12))
	a.Add(&there)
	for i, end := range [][2]string{{"10.1.0.1:5000", "10.2.0.1:80"}, {"10.2.0.1:80", "10.1.0.1:5000"}} {
		a.Add(connection(end[0], end[1], 10*(i+1), record.TCP{Span: time.Millisecond, Retransmits: 3, Unread: 9}))
	}
	s := a.Snapshot()
	if p := pairOf(t, s, "web", "api", journey.Local); p.TCP == nil || p.TCP.Retransmits != 3 || p.TCP.UnreadSeconds == 0 {
		t.Errorf("%+v", p.TCP)
	}
	for _, p := range s.Pairs {
		if p.SrcWorkload == "web" && p.Direction != journey.Local {
			t.Errorf("%+v beside the pair that has the packets", p.PairKey)
		}
	}
}

// TestRefused counts SYNs to where nobody listens, and for how long that goes on.
func TestRefused(t *testing.T) {
	t.Parallel()
	a := New(Options{Namer: cluster})
	a.SetDevices(node)
	for i, test := range []struct {
		reason, location string
		syn              bool
	}{
		{"NO_SOCKET", "tcp_v4_rcv", true}, {"", "tcp_v4_rcv", true}, {"NO_SOCKET", "tcp_v6_rcv", true}, // refused
		{"NO_SOCKET", "tcp_v4_rcv", false}, {"", "ip_rcv", true}, {"NOT_SPECIFIED", "tcp_v4_rcv", true}, // not
	} {
		micros := i * 600_000
		r := newRecord(record.Dropped, flowOf("10.2.0.1:4000", "10.1.0.1:81"), flowOf("10.2.0.1:4000", "10.1.0.1:81"),
			hop(record.Ingress, 4, micros), hop(record.Egress, 1, micros+10), hop(record.Xmit, 1, micros+12), hop(record.Free, 1, micros+20))
		r.Reason, r.Location, r.SYN = test.reason, test.location, test.syn
		a.Add(&r)
	}
	lost := request(record.Dropped)
	lost.Reason = "QDISC_DROP"
	a.Add(&lost)
	if lost, freed := a.Freed(); lost != 1 || freed != 6 {
		t.Errorf("%d lost and %d freed, want 1 and 6", lost, freed)
	}
	if p := pairOf(t, a.Snapshot(), "api", "web", journey.In); p.TCP.Refused != 3 || p.TCP.RefusedSeconds != 2 || len(p.Drops) != 0 {
		t.Errorf("%+v, drops %+v", p.TCP, p.Drops)
	}
}

// TestRefusedScan counts refused SYNs of a scanner, which asks each port once, and of a client that comes again.
func TestRefusedScan(t *testing.T) {
	t.Parallel()
	for ports, again := range map[int]bool{1: true, 3: true, 50: false} {
		a := New(Options{Namer: cluster})
		a.SetDevices(node)
		for i := range 50 {
			flow := flowOf(fmt.Sprintf("10.2.0.1:%d", 4000+i), fmt.Sprintf("10.1.0.1:%d", 81+i%ports))
			micros := i * 200_000
			r := newRecord(record.Dropped, flow, flow,
				hop(record.Ingress, 4, micros), hop(record.Egress, 1, micros+10), hop(record.Xmit, 1, micros+12), hop(record.Free, 1, micros+20))
			r.Reason, r.Location, r.SYN = "NO_SOCKET", "tcp_v4_rcv", true
			a.Add(&r)
		}
		p := pairOf(t, a.Snapshot(), "api", "web", journey.In)
		if p.TCP.Refused != 50 || again != (p.TCP.RefusedSeconds >= 9) || !again && p.TCP.RefusedSeconds != 0 {
			t.Errorf("%d ports: %d refused, in %d seconds", ports, p.TCP.Refused, p.TCP.RefusedSeconds)
		}
	}
}

// TestHalfOpen sends SYNs again whose SYN-ACKs were lost: the kernel frees them, and someone listens.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{"", "NOT_SPECIFIED"} {
		for _, refused := range []bool{false, true} {
			a := New(Options{Namer: cluster})
			a.SetDevices(node)
			for i := range 20 {
				port, try := i/4, i%4 // each client tries four times
				if refused {
					port, try = i, 1 // or once
				}
				flow := flowOf(fmt.Sprintf("10.2.0.1:%d", 4000+port), "10.1.0.1:81")
				micros := i * 600_000
				hops := []record.Hop{hop(record.Ingress, 4, micros), hop(record.Egress, 1, micros+10), hop(record.Xmit, 1, micros+12)}
				passed := newRecord(record.Finished, flow, flow, hops...)
				a.Add(&passed)
				if try == 0 {
					continue
				}
				freed := newRecord(record.Dropped, flow, flow, append(hops, hop(record.Free, 1, micros+20))...)
				freed.Reason, freed.Location, freed.SYN = reason, "tcp_v4_rcv", true
				a.Add(&freed)
			}
			want := uint64(0)
			if refused && reason == "" {
				want = 20
			}
			p := pairOf(t, a.Snapshot(), "api", "web", journey.In)
			if got := p.TCP; (want == 0) != (got == nil) || got != nil && got.Refused != want {
				t.Errorf("reason %q, refused %v: %+v, want %d", reason, refused, got, want)
			}
		}
	}
}

// TestConnectionIndex finds a connection's flow also where the memory of one in the index has become another flow's.
func TestConnectionIndex(t *testing.T) {
	t.Parallel()
	a := New(Options{Namer: cluster, MaxFlows: 1})
	a.SetDevices(node)
	for i, port := range []string{"1", "2"} {
		r := request(record.Finished)
		r.First, r.Last = flowOf("10.1.0.1:"+port, "10.9.0.1:80"), flowOf("10.1.0.1:"+port, "10.2.0.1:80")
		a.Add(&r)
		for range 2 { // the first record may come before the index may be built anew
			a.Add(connection("10.1.0.1:1", "10.9.0.1:80", i*3000+1, record.TCP{Retransmits: 1}))
			a.Add(connection("10.1.0.1:2", "10.9.0.1:80", i*3000+1500, record.TCP{Retransmits: 100}))
		}
	}
	// Each is found while it is the flow that is kept: twice.
	if p := pairOf(t, a.Snapshot(), "web", "api", journey.Out); p.TCP.Retransmits != 2+200 {
		t.Errorf("%d retransmissions", p.TCP.Retransmits)
	}
}

// TestRetransmitted counts retransmissions, those that were acknowledged, and what else was while some were not.
func TestRetransmitted(t *testing.T) {
	t.Parallel()
	a := New(Options{Namer: cluster})
	a.SetDevices(node)
	sent := request(record.Finished)
	a.Add(&sent)
	before := a.Snapshot()
	const span = 100 * time.Millisecond
	for _, c := range []struct {
		at int // milliseconds
		record.TCP
	}{
		{100, record.TCP{RetransmittedLength: 1400}},
		{200, record.TCP{Acked: 5000, Delivered: 5, Span: span}}, // nothing was retransmitted again yet
		{300, record.TCP{RetransmittedLength: 1400, RetransmittedAgain: true}},
		{350, record.TCP{Acked: 700, Delivered: 7, Segments: 9, Span: span}}, // some of it before
		{450, record.TCP{Acked: 300, Delivered: 3, Span: span}},
		{500, record.TCP{RetransmittedLength: 1000, Segments: 1, Retransmits: 1}},
		{1800, record.TCP{Acked: 200, Delivered: 2, Span: span}},
		{3600, record.TCP{Acked: 800, Delivered: 8, Span: span}}, // after what is retransmitted next was sent: that was lost in vain, perhaps with all else
		{4000, record.TCP{RetransmittedLength: 1200, RetransmittedAgain: true, Span: 1600 * time.Millisecond}},
		{8000, record.TCP{Acked: 200, Delivered: 2, Recovered: true, Span: span}},
		{60000, record.TCP{Acked: 9000, Delivered: 9, Span: span}}, // nor any more
		{60100, record.TCP{RetransmittedLength: 1400, RetransmittedAgain: true}},
		{60150, record.TCP{Acked: 100, Delivered: 1, Segments: 4, Span: span}},
		{60250, record.TCP{Acked: 300, Delivered: 3, Segments: 3, Span: span}},
	} {
		a.Add(connection(sent.First.Source.String(), sent.First.Destination.String(), c.at, c.TCP))
	}
	now := a.Snapshot()
	got := pairOf(t, now.Since(before), "web", "api", journey.Out).TCP
	if got.Retransmitted != 5 || got.Recovered != 1 || got.RetransmittedAgain != 3 || got.RetransmittedAgainBytes != 4000 || got.AckedMeanwhile != 5 || got.AckedMeanwhileBytes != 500 {
		t.Errorf("%+v", got)
	}
	if got.Segments != 17 || got.Retransmits != 1 || got.SinceRetransmit != 7 || got.LastRetransmit != time.Hour+500*time.Millisecond {
		t.Errorf("%d segments, %d retransmissions, %d segments since %v, want 17, 1 and 7 since 1h0m0.5s", got.Segments, got.Retransmits, got.SinceRetransmit, got.LastRetransmit)
	}
	if later := a.Snapshot().Since(now); len(later.Pairs) > 0 && later.Pairs[0].TCP != nil {
		t.Errorf("nothing was sent, but since then %+v", later.Pairs[0].TCP)
	}
	var sum TCP
	sum.Merge(got)
	sum.Merge(&TCP{Segments: 20, SinceRetransmit: 20})
	if sum.SinceRetransmit != 7 {
		t.Errorf("%d segments of two pairs went out since, want the 7 that did for certain", sum.SinceRetransmit)
	}
	sum = TCP{}
	sum.Merge(got)
	sum.Merge(got)
	if sum.Retransmitted != 10 || sum.Recovered != 2 || sum.RetransmittedAgain != 6 || sum.RetransmittedAgainBytes != 8000 || sum.AckedMeanwhile != 10 || sum.AckedMeanwhileBytes != 1000 {
		t.Errorf("twice that is %+v", sum)
	}
}

// TestQueueFull counts seconds, and not calls.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	a := New(Options{Namer: cluster})
	a.SetDevices(node)
	syn := newRecord(record.Finished, flowOf("10.2.0.1:4000", "10.1.0.1:80"), flowOf("10.2.0.1:4000", "10.1.0.1:80"),
		hop(record.Ingress, 4, 600), hop(record.Egress, 1, 610), hop(record.Xmit, 1, 612))
	a.Add(&syn)
	before := a.Snapshot()
	for _, at := range []time.Duration{time.Hour, time.Hour + time.Millisecond, time.Hour + time.Second} {
		a.AddQueueFull(&syn, at, record.Listener{AcceptQueue: record.AcceptQueue{Length: 2, Limit: 1, Full: true}, SYNQueue: record.SYNQueue{Length: 4, Full: at > time.Hour}})
	}
	got := pairOf(t, a.Snapshot().Since(before), "api", "web", journey.In).TCP
	if got.AcceptQueueFullSeconds != 2 || got.AcceptQueue.Length != 2 || got.SYNQueueFullSeconds != 2 || got.SYNQueue.Length != 4 {
		t.Errorf("%+v", got)
	}
}
