package aggregate

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/record"
)

// newNodeTalk knows the node's own address.
func newNodeTalk(t *testing.T) *talk {
	known := names{netip.MustParseAddr("172.18.0.1"): {Workload: NodeWorkload}}
	maps.Copy(known, cluster)
	return newTalk(t, Options{Namer: known})
}

// own is a SYN of the node itself, or a datagram, whose answers come by a single hook.
func (x *talk) own(src, dst string, protocol record.Protocol, millis int) {
	rec := newRecord(record.Finished, flowOf(src, dst), flowOf(src, dst), hop(record.Egress, 4, 0), hop(record.Xmit, 4, 0))
	rec.IPBytes = 60
	x.add(rec, protocol, millis)
}

// TestUnansweredOwn takes TCP's word for what the node itself got, though its sockets know a Service's address where the packets have a
// pod's; and where NAT gave them other ports too, says by which port a connection began.
func TestUnansweredOwn(t *testing.T) {
	t.Parallel()
	x := newNodeTalk(t)
	told := func(src string, millis int, c record.TCP) {
		x.clock = time.Duration(millis) * time.Millisecond
		x.Add(connection(src, "10.9.0.1:80", millis, c))
	}
	for i := range 100 {
		src := fmt.Sprint("172.18.0.1:", 40000+i)
		x.own(src, "10.2.0.1:8080", tcp, 50*i)
		told(src, 50*i+1, record.TCP{State: 1, Delivered: 1})
	}
	if s := x.silentAt(5000); len(s) != 0 {
		t.Errorf("each was answered, and there are %+v", s)
	}
	if s := x.Snapshot(); s.AnswersUnseen != 0 {
		t.Errorf("%d answers are said to pass the hooks, which do not look for them", s.AnswersUnseen)
	}
	for i := range 100 {
		x.own(fmt.Sprint("172.18.0.1:", 50000+i), "10.2.0.1:8080", tcp, 5000+50*i)
		told(fmt.Sprint("172.18.0.1:", 40000+i), 5001+50*i, record.TCP{State: 1, Delivered: 1}) // of a port that has sent nothing for long
	}
	s := x.silentAt(10_000)
	if len(s) != 1 || !s[0].ByOneHook || s[0].Connections != 100 {
		t.Fatalf("%+v", s)
	}
	told("172.18.0.1:50099", 10_001, record.TCP{State: 2, Retransmits: 1})
	if got := x.TakeUntranslated(); len(got) != 1 {
		t.Errorf("%d records are put by, want one", len(got))
	} else {
		got[0].First.Destination = netip.MustParseAddrPort("10.2.0.1:8080")
		x.AddTranslated(&got[0])
	}
	if s := x.silentAt(10_002); len(s) != 1 || s[0].Retransmits != 1 {
		t.Errorf("%+v, want a SYN that was sent again", s)
	}
	x.in("10.2.0.1:8080", "172.18.0.1:50099", tcp, 10_003)
	x.own("172.18.0.1:51000", "10.2.0.1:8080", tcp, 10_010)
	x.own("172.18.0.1:51000", "10.2.0.1:8080", tcp, 10_020)
	x.own("172.18.0.1:51000", "10.2.0.1:8080", tcp, 10_030)
	if s := x.silentAt(10_100); len(s) != 1 || s[0].ByOneHook {
		t.Errorf("%+v, want it known that hooks see what comes", s)
	}
}

// TestUnansweredRandomPorts goes by the connection table for what the node itself got where NAT gave the packets other ports, too: a reply
// that it saw is an answer to what was sent a second ago, and three connections without one are no chance.
func TestUnansweredRandomPorts(t *testing.T) {
	t.Parallel()
	x := newNodeTalk(t)
	begin := func(from, until int) {
		for millis := from; millis < until; millis += 50 {
			x.own(fmt.Sprint("172.18.0.1:", 30000+millis), "10.2.0.1:80", tcp, millis)
		}
	}
	tell := func(want uint16, replied bool) {
		t.Helper()
		tries := x.OwnTries(8)
		if want == 0 {
			if len(tries) > 0 {
				t.Errorf("%+v are asked for", tries)
			}
			return
		}
		if len(tries) != 1 || tries[0] != (OwnTry{tcp, netip.AddrPortFrom(netip.MustParseAddr("172.18.0.1"), want), netip.MustParseAddrPort("10.2.0.1:80")}) {
			t.Fatalf("%+v, want that from port %d", tries, want)
		}
		x.SetReplied(tries[0], replied)
		x.SetReplied(tries[0], replied) // a second time it says nothing new
	}
	begin(0, 2000)
	tell(0, false) // each is less than a second old, or may be
	begin(2000, 3000)
	tell(30950, true)
	if s := x.silentAt(3000); len(s) != 0 {
		t.Errorf("the table saw a reply, and there are %+v", s)
	}
	for i := range 5 {
		begin(3000+1000*i, 4000+1000*i)
		if i > 1 {
			tell(uint16(31950+1000*i), false)
		}
	}
	if s := x.silentAt(8000); len(s) != 1 || s[0].Unreplied != 3 || s[0].Answers != 1 || s[0].First != 6.05 || s[0].Answered != 7.05 {
		t.Errorf("%+v, want three known to be unanswered, since the reply", s)
	}
	tell(35950, true)
	begin(8000, 8100)
	if s := x.silentAt(8200); len(s) != 1 || s[0].Unreplied != 0 || s[0].First != 1.25 {
		t.Errorf("%+v, want what was sent after the reply", s)
	}
}

// TestUnansweredStuck has a connection that was there before tracing began, to a Service by NAT that gave it another port: what TCP sends
// again is told of by the table. That it saw replies before does not end the silence.
func TestUnansweredStuck(t *testing.T) {
	t.Parallel()
	x := newNodeTalk(t)
	for i := range 8 {
		rec := newRecord(record.Finished, flowOf("172.18.0.1:61000", "10.2.0.1:80"), flowOf("172.18.0.1:61000", "10.2.0.1:80"), hop(record.Egress, 4, 0), hop(record.Xmit, 4, 0))
		x.add(rec, tcp, 1000*i)
		x.Add(connection("172.18.0.1:40000", "10.9.0.1:80", 1000*i, record.TCP{State: 1, Retransmits: 1, RetransmittedLength: 100, RetransmittedAgain: i > 0}))
		for _, rec := range x.TakeUntranslated() {
			rec.First = flowOf("172.18.0.1:61000", "10.2.0.1:80")
			x.AddTranslated(&rec)
		}
		if tries := x.OwnTries(8); len(tries) > 0 {
			t.Errorf("%+v are asked for, which did not begin now", tries)
		}
	}
	if s := x.silentAt(8000); len(s) != 1 || s[0].Retransmits != 8 || !s[0].Established || s[0].First != 8 {
		t.Errorf("%+v", s)
	}
}

// TestUnansweredSocket has all datagrams come from one port, of which the table never sees a reply.
func TestUnansweredSocket(t *testing.T) {
	t.Parallel()
	x := newNodeTalk(t)
	for second := range 6 {
		for i := range 5 {
			x.own("172.18.0.1:40000", "10.2.0.1:53", udp, 1000*second+200*i)
		}
		for _, try := range x.OwnTries(8) {
			x.SetReplied(try, false)
			x.SetReplied(try, false)
		}
	}
	if s := x.silentAt(6000); len(s) != 1 || s[0].Unreplied != 4 || s[0].First != 6 {
		t.Errorf("%+v, want it known four times", s)
	}
}

// TestUntranslatedBound counts what is sent again by its own addresses, if nobody takes the records to translate them.
func TestUntranslatedBound(t *testing.T) {
	t.Parallel()
	x := newNodeTalk(t)
	for i := range maxUntranslated + 4 {
		x.Add(connection(fmt.Sprint("172.18.0.1:", 40000+i), "203.0.113.9:80", i, record.TCP{State: 2, Retransmits: 1}))
	}
	if p := pairOf(t, x.Snapshot(), NodeWorkload, UnknownWorkload, "out"); p.TCP.Retransmits != 4 {
		t.Errorf("%d are counted, want those beyond the bound", p.TCP.Retransmits)
	}
	if n := len(x.TakeUntranslated()); n != maxUntranslated {
		t.Errorf("%d are put by", n)
	}
}

// TestUnansweredServer leaves what a server on the node sends to one client out of what it sends to another, whose flow is not known; and
// likewise what a client sends from one port to two servers.
func TestUnansweredServer(t *testing.T) {
	t.Parallel()
	x := newNodeTalk(t)
	x.in("10.2.0.1:40000", "172.18.0.1:80", tcp, 0)
	x.own("172.18.0.1:80", "10.2.0.1:40000", tcp, 1)
	x.Add(connection("172.18.0.1:80", "10.9.0.1:40001", 2, record.TCP{State: 1, Retransmits: 5}))
	x.own("172.18.0.1:40000", "10.2.0.1:80", tcp, 3)
	x.Add(connection("172.18.0.1:40000", "10.1.0.1:80", 4, record.TCP{State: 1, Retransmits: 5})) // the port serves two connections
	for _, p := range x.Snapshot().Pairs {
		if p.TCP != nil && p.DstWorkload == "api" {
			t.Errorf("%v has %+v", p.PairKey, p.TCP)
		}
	}
}
