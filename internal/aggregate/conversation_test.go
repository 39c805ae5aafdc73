package aggregate

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tracer/internal/record"
)

// talk adds packets between the pod 10.1.0.1 of this node and others to an aggregator, each so many milliseconds after the hour.
type talk struct {
	*Aggregator
	began time.Time
	clock time.Duration
}

func newTalk(t testing.TB, o Options) *talk {
	t.Helper()
	x := &talk{began: time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)}
	o.Now = func() time.Time { return x.began.Add(x.clock) }
	x.Aggregator = newAggregator(t, o)
	return x
}

func (x *talk) add(rec record.Record, protocol record.Protocol, millis int) {
	rec.First.Protocol, rec.Last.Protocol = protocol, protocol
	x.clock = time.Duration(millis) * time.Millisecond
	for i := range rec.Len {
		rec.Hops[i].Time = time.Hour + x.clock
	}
	rec.Time = time.Hour + x.clock
	x.Add(&rec)
}

// out is a packet of the pod, in by a packet to it, through the tunnel.
func (x *talk) out(src, dst string, protocol record.Protocol, millis int) {
	x.add(newRecord(record.Finished, flowOf(src, dst), flowOf(src, dst), hop(record.Ingress, 1, 0), hop(record.Egress, 4, 0), hop(record.Xmit, 4, 0)), protocol, millis)
}

func (x *talk) in(src, dst string, protocol record.Protocol, millis int) {
	x.add(newRecord(record.Finished, flowOf(src, dst), flowOf(src, dst), hop(record.Ingress, 4, 0), hop(record.Egress, 1, 0), hop(record.Xmit, 1, 0)), protocol, millis)
}

// silentAt are the conversations without an answer so many milliseconds after the hour.
func (x *talk) silentAt(millis int) []Unanswered {
	x.clock = time.Duration(millis) * time.Millisecond
	return x.Snapshot().Unanswered
}

const (
	tcp  = record.ProtocolTCP
	udp  = record.ProtocolUDP
	icmp = record.ProtocolICMP
)

// TestUnanswered counts a client's tries since the server was last heard, whatever ports they come from.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	for i := range 5 {
		x.out(fmt.Sprint("10.1.0.1:", 40000+i), "10.2.0.1:80", tcp, 100*i)
		x.in("10.2.0.1:80", fmt.Sprint("10.1.0.1:", 40000+i), tcp, 100*i+1)
	}
	if s := x.silentAt(600); len(s) != 0 {
		t.Fatalf("all was answered, and there are %+v", s)
	}
	for i := range 4 {
		x.out(fmt.Sprint("10.1.0.1:", 40100+i/2), "10.2.0.1:80", tcp, 1000+1000*i)
	}
	s := x.silentAt(6000)
	if len(s) != 1 {
		t.Fatalf("%+v", s)
	}
	u := &s[0]
	if u.SrcWorkload != "web" || u.DstWorkload != "api" || u.Destination != netip.MustParseAddrPort("10.2.0.1:80") || u.Source.Port() != 0 || !u.Client {
		t.Errorf("who: %+v", u)
	}
	if u.Tries != 4 || u.Connections != 2 || u.Answers != 5 || u.First != 5 || u.Last != 2 || u.Seconds != 4 || u.Answered != 5.599 || u.Gap != 0 || u.Ifindex != 1 {
		t.Errorf("how often: %+v", u)
	}
	x.in("10.2.0.1:80", "10.1.0.1:40101", tcp, 6100)
	if s := x.silentAt(9000); len(s) != 0 {
		t.Errorf("it was answered, and there are %+v", s)
	}
}

// TestUnansweredLost counts an answer that came and was lost on this node as one, and tries that were lost here apart.
func TestUnansweredLost(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	lost := func(src, dst string, from, at, millis int) {
		rec := newRecord(record.Dropped, flowOf(src, dst), flowOf(src, dst), hop(record.Ingress, from, 0), hop(record.Free, at, 0))
		rec.Reason = "NETFILTER_DROP"
		x.add(rec, tcp, millis)
	}
	for i := range 4 {
		x.out(fmt.Sprint("10.1.0.1:", 40000+i), "10.2.0.1:80", tcp, 1000*i)
		lost(fmt.Sprint("10.1.0.1:", 40000+i), "10.2.0.1:80", 1, 1, 1000*i+10)
	}
	if s := x.silentAt(5000); len(s) != 1 || s[0].Tries != 4 || s[0].Dropped != 4 {
		t.Errorf("%+v", s)
	}
	lost("10.2.0.1:80", "10.1.0.1:40003", 4, 4, 5100)
	if s := x.silentAt(6000); len(s) != 0 {
		t.Errorf("it was answered, and there are %+v", s)
	}
}

// TestUnansweredTCP takes TCP's word for what it received, and for what it sent again.
func TestUnansweredTCP(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	told := func(millis int, c record.TCP) {
		x.clock = time.Duration(millis) * time.Millisecond
		c.Ifindex = 1
		x.Add(connection("10.1.0.1:40000", "10.2.0.1:80", millis, c))
	}
	for i := range 4 {
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 1000*i)
		told(1000*i+1, record.TCP{State: 1, Retransmits: 1, RetransmittedLength: 100})
	}
	s := x.silentAt(5000)
	if len(s) != 1 || s[0].Retransmits != 4 || !s[0].Established || s[0].Answers != 0 || !s[0].Before() {
		t.Fatalf("%+v", s)
	}
	told(5100, record.TCP{State: 1, Span: time.Second, Delivered: 1}) // no hook saw what came
	if s := x.Snapshot(); len(s.Unanswered) != 0 || s.AnswersUnseen != 1 || s.AnswersSeen != 0 {
		t.Errorf("%+v, %d seen, %d unseen", s.Unanswered, s.AnswersSeen, s.AnswersUnseen)
	}
	for i := range 4 {
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 10_000+1000*i)
		told(10_001+1000*i, record.TCP{State: 2, Retransmits: 1}) // a SYN, which has no data
	}
	if s := x.silentAt(15_000); len(s) != 1 || s[0].Retransmits != 4 || s[0].Established {
		t.Errorf("%+v", s)
	}
	x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 15_100) // the last SYN's answer
	if s := x.silentAt(19_000); len(s) != 0 {
		t.Errorf("it is open, and there are %+v", s)
	}
}

// TestUnansweredEstablished knows of an established connection also where TCP's word comes before the packet that it sent again.
func TestUnansweredEstablished(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 0)
	x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 1)
	for i := range 4 {
		x.clock = time.Duration(1000*(i+1)) * time.Millisecond
		x.Add(connection("10.1.0.1:40000", "10.2.0.1:80", 1000*(i+1), record.TCP{State: 1, Retransmits: 1, RetransmittedLength: 100}))
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 1000*(i+1)+1)
	}
	if s := x.silentAt(6000); len(s) != 1 || !s[0].Established || s[0].Retransmits != 4 {
		t.Errorf("%+v", s)
	}
	x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 6100)
	for i := range 4 {
		x.out(fmt.Sprint("10.1.0.1:", 40001+i), "10.2.0.1:80", tcp, 7000+1000*i)
	}
	if s := x.silentAt(12_000); len(s) != 1 || s[0].Established {
		t.Errorf("it was answered since, and there are %+v", s)
	}
}

// TestUnansweredCompared tells what came meanwhile in other conversations.
func TestUnansweredCompared(t *testing.T) {
	t.Parallel()
	who := names{}
	for address, id := range cluster {
		who[address] = id
	}
	who[netip.MustParseAddr("10.2.0.2")] = Identity{Namespace: "default", Pod: "api-2", Workload: "api", Node: "node2"}
	x := newTalk(t, Options{Namer: who})
	for i := range 12 {
		x.out("10.1.0.1:40000", "10.2.0.2:80", tcp, 1000*i)
		x.out("10.1.0.1:40001", "10.2.0.1:80", tcp, 1000*i+1)
		x.in("10.2.0.1:80", "10.1.0.1:40001", tcp, 1000*i+2)
		x.out("10.1.0.1:0", "10.2.0.1:0", icmp, 1000*i+3)
		for absent := range 3 {
			x.out("10.1.0.1:40002", fmt.Sprintf("10.2.0.%d:80", 100+absent), udp, 1000*i+4)
		}
	}
	s := x.silentAt(13_000)
	if len(s) != 5 {
		t.Fatalf("%+v", s)
	}
	for _, u := range s {
		switch u.Destination {
		case netip.MustParseAddrPort("10.2.0.2:80"):
			if !u.PairAnswered || u.AddressAnswered || u.Elsewhere != 4 || u.Node != "node2" {
				t.Errorf("one of several: %+v", u)
			}
		case netip.MustParseAddrPort("10.2.0.1:0"):
			if !u.AddressAnswered {
				t.Errorf("pings of who answers otherwise: %+v", u)
			}
		}
	}
	x.in("172.18.0.2:0", "10.1.0.1:0", icmp, 9_000)
	x.in("172.18.0.2:0", "10.1.0.1:0", icmp, 13_100)
	for _, u := range x.silentAt(13_150) {
		if u.Refused {
			t.Errorf("some of its packets found no neighbour: %+v", u)
		}
	}
	x.in("172.18.0.2:0", "10.1.0.1:0", icmp, 14_100)
	for _, u := range x.silentAt(14_200) {
		if !u.Refused {
			t.Errorf("refused by ICMP: %+v", u)
		}
	}
}

// TestUnansweredRefused has ICMP refuse each SYN, and looks where the last one has left and its answer has not come yet.
func TestUnansweredRefused(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	last := 0
	for i := range 12 {
		last = 1100 * i
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, last)
		if i < 11 {
			x.in("172.18.0.2:0", "10.1.0.1:0", icmp, last+1)
		}
	}
	for _, test := range []struct {
		after   int // milliseconds, after the last SYN
		refused bool
	}{{1, true}, {900, true}, {1500, false}} {
		s := x.silentAt(last + test.after)
		if len(s) != 1 {
			t.Fatalf("%d ms after the last SYN: %+v", test.after, s)
		}
		if s[0].Refused != test.refused {
			t.Errorf("%d ms after the last SYN: refused is %v: %+v", test.after, s[0].Refused, s[0])
		}
	}
}

// TestUnansweredOneWay takes what a server sends again on older connections, as it hears nothing, for no answer to those who
// try to connect, or send one segment again and again; and what TCP says is acknowledged for one.
func TestUnansweredOneWay(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	told := func(millis int, c record.TCP) {
		x.clock = time.Duration(millis) * time.Millisecond
		x.Add(connection("10.1.0.1:40000", "10.2.0.1:80", millis, c))
	}
	x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 0)
	x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 1)
	for i := range 4 {
		x.in("10.2.0.1:80", "10.1.0.1:39000", tcp, 1000+1000*i) // older than our counts
		x.out("10.1.0.1:39000", "10.2.0.1:80", tcp, 1001+1000*i)
		x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 1002+1000*i)
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 1003+1000*i)
	}
	if s := x.silentAt(5000); len(s) != 0 {
		t.Fatalf("all are acknowledgements, and there are %+v", s)
	}
	for i := range 4 {
		x.out(fmt.Sprint("10.1.0.1:", 40001+i), "10.2.0.1:80", tcp, 5000+1000*i)
		x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 5001+1000*i)
	}
	if s := x.silentAt(10_000); len(s) != 1 || s[0].Connections != 4 || s[0].Others != 4 || s[0].Tries != 4 || s[0].First != 5 {
		t.Errorf("nobody can connect: %+v", s)
	}
	x.in("10.2.0.1:80", "10.1.0.1:40003", tcp, 10_100)
	if s := x.silentAt(12_000); len(s) != 0 {
		t.Errorf("a connection was made, and there are %+v", s)
	}

	for i := range 4 {
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 20_000+1000*i)
		told(20_001+1000*i, record.TCP{State: 1, Retransmits: 1, RetransmittedLength: 100, RetransmittedAgain: i > 0})
		x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 20_500+1000*i)
		told(20_501+1000*i, record.TCP{State: 1, Span: time.Second})
	}
	if s := x.silentAt(26_000); len(s) != 1 || s[0].Again != 2 && s[0].Again != 3 || s[0].Others == 0 {
		t.Errorf("one segment is sent again and again: %+v", s)
	}
	told(26_100, record.TCP{State: 1, Span: time.Second, Delivered: 1})
	if s := x.silentAt(27_000); len(s) != 0 {
		t.Errorf("it was acknowledged, and there are %+v", s)
	}
}

// TestUnansweredOpenAgain: nothing passes, until older connections are heard again. Whether this one is too shows with its next try.
func TestUnansweredOpenAgain(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	again := func(millis int) {
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, millis)
		x.clock = time.Duration(millis+1) * time.Millisecond
		x.Add(connection("10.1.0.1:40000", "10.2.0.1:80", millis+1, record.TCP{State: 1, Retransmits: 1, RetransmittedLength: 100, RetransmittedAgain: true}))
	}
	x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 0)
	x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 1)
	for _, millis := range []int{1000, 1400, 2200, 3800} {
		again(millis)
	}
	if s := x.silentAt(6000); len(s) != 1 || s[0].OpenAgain || s[0].Others != 0 {
		t.Errorf("nothing comes: %+v", s)
	}
	x.in("10.2.0.1:80", "10.1.0.1:39000", tcp, 6100)
	if s := x.silentAt(6500); len(s) != 1 || !s[0].OpenAgain || s[0].Others != 1 {
		t.Errorf("an older one is heard: %+v", s)
	}
	again(7000)
	if s := x.silentAt(7500); len(s) != 1 || !s[0].OpenAgain {
		t.Errorf("the answer may be on its way: %+v", s)
	}
	if s := x.silentAt(8500); len(s) != 1 || s[0].OpenAgain {
		t.Errorf("no answer came to what was sent after it: %+v", s)
	}
}

// TestUnansweredPauses begins anew where a connection's last acknowledgement, which has no answer, is all that there was, and
// leaves out what may be answered yet.
func TestUnansweredPauses(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 0)
	x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 1)
	for i := range 3 { // as three connections close
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 10+i)
	}
	x.out("10.1.0.1:40001", "10.2.0.1:80", tcp, 8000)
	if s := x.silentAt(8001); len(s) != 0 {
		t.Errorf("a new connection is being opened, and there are %+v", s)
	}
	for i := range 3 {
		x.out("10.1.0.1:40001", "10.2.0.1:80", tcp, 9000+2000*i)
	}
	if s := x.silentAt(13_500); len(s) != 1 || s[0].First != 5.5 || s[0].Tries != 4 || s[0].Last != 2.5 {
		t.Errorf("since the SYN there are %+v", s)
	}
	// They gave up, and try once more.
	x.out("10.1.0.1:40002", "10.2.0.1:80", tcp, 43_000)
	if s := x.silentAt(43_001); len(s) != 1 || s[0].Last != 30.001 || s[0].First != 35.001 {
		t.Errorf("the last one may be answered yet: %+v", s)
	}
}

// TestUnansweredInFlight takes what has come, and left by a way without a hook, for an answer.
func TestUnansweredInFlight(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	for i := range 4 {
		x.out("10.1.0.1:40000", "10.2.0.1:53", udp, 1000*i)
	}
	open := newRecord(record.InFlight, flowOf("10.2.0.1:53", "10.1.0.1:40000"), flowOf("10.2.0.1:53", "10.1.0.1:40000"), hop(record.Ingress, 4, 3_100_000))
	open.First.Protocol, open.Last.Protocol, open.Time = udp, udp, time.Hour+3200*time.Millisecond
	if s := x.silentAt(3200); len(s) != 1 || !s[0].Query {
		t.Fatalf("%+v", s)
	}
	x.SetInFlight([]record.Record{open})
	if s := x.silentAt(9000); len(s) != 0 {
		t.Errorf("it was answered, and there are %+v", s)
	}
}

// TestUnansweredOrder takes records in whatever order they come: those that wait for a name come late.
func TestUnansweredOrder(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	x.in("10.2.0.1:80", "10.1.0.1:40000", tcp, 5000)
	for i := range 4 {
		x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 1000*i)
	}
	if s := x.silentAt(9000); len(s) != 0 {
		t.Errorf("it was answered later, and there are %+v", s)
	}
}

// TestUnansweredBounded tells of those that were answered before first where a scan makes too many.
func TestUnansweredBounded(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	x.out("10.1.0.1:40000", "10.2.0.1:80", udp, 0)
	x.in("10.2.0.1:80", "10.1.0.1:40000", udp, 1)
	for try := range 4 {
		for i := range 2 * maxUnanswered {
			x.out("10.1.0.1:40000", fmt.Sprintf("10.3.%d.%d:80", i/250, i%250), udp, 1000*try+i)
		}
		if try < 3 {
			x.out("10.1.0.1:40000", "10.2.0.1:80", udp, 1000*try+999)
		}
	}
	s := x.silentAt(6000)
	if len(s) != maxUnanswered || !slices.ContainsFunc(s, func(u Unanswered) bool { return u.DstWorkload == "api" && u.Elsewhere == 2*maxUnanswered }) {
		t.Errorf("%d, of %d: %+v", len(s), 2*maxUnanswered+1, s[0])
	}
}

// TestConversationsBounded forgets those that were not seen lately, and keeps those in use.
func TestConversationsBounded(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{MaxConversations: 100, MaxFlows: 50})
	for i := range 1000 {
		x.out("10.1.0.1:40000", fmt.Sprintf("10.3.%d.%d:80", i/250, i%250), tcp, 10*i)
		if i%10 == 0 {
			x.out("10.1.0.1:40000", "10.2.0.1:80", tcp, 10*i)
		}
	}
	n := 0
	for range x.conversations.all {
		n++
	}
	if n > 100 {
		t.Errorf("%d conversations are kept", n)
	}
	if s := x.silentAt(10_000); len(s) != 1 || s[0].Tries != 100 {
		t.Errorf("%+v", s)
	}
}
