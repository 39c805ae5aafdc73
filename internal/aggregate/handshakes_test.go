package aggregate

import (
	"net/netip"
	"testing"
	"time"

	"tracer/internal/record"
)

// handshake is a talk in which the pod 10.1.0.1 of this node listens at port 80, and the client is 10.2.0.1, elsewhere.
type handshake struct{ *talk }

const (
	synBytes = 60
	ackBytes = 52
)

func (x handshake) client(port, bytes, millis int) { x.packet(port, bytes, millis, false, nil) }
func (x handshake) server(port, bytes, millis int) { x.packet(port, bytes, millis, true, nil) }

func (x handshake) packet(port, bytes, millis int, answers bool, change func(*record.Record)) {
	at := netip.AddrPortFrom(netip.MustParseAddr("10.2.0.1"), uint16(port)).String()
	flow, hops := flowOf(at, "10.1.0.1:80"), []record.Hop{hop(record.Ingress, 4, 0), hop(record.Egress, 1, 0), hop(record.Xmit, 1, 0)}
	if answers {
		flow, hops = flowOf("10.1.0.1:80", at), []record.Hop{hop(record.Ingress, 1, 0), hop(record.Egress, 4, 0), hop(record.Xmit, 4, 0)}
	}
	rec := newRecord(record.Finished, flow, flow, hops...)
	rec.IPBytes = uint32(bytes)
	if change != nil {
		change(&rec)
	}
	x.add(rec, tcp, millis)
}

// open is a client's SYN and the server's SYN-ACK.
func (x handshake) open(port, millis int) {
	x.client(port, synBytes, millis)
	x.server(port, synBytes, millis+1)
}

// tries are connections' SYNs and those that are sent again, each answered. Those the kernel frees once it has answered.
func (x handshake) tries(millis int, ports ...int) {
	for _, after := range []int{0, 1000, 3000, 7000} {
		for _, port := range ports {
			x.open(port, millis+after)
			if after > 0 {
				x.packet(port, synBytes, millis+after+1, false, func(r *record.Record) { r.Kind, r.SYN, r.Location = record.Dropped, true, "tcp_v4_rcv" })
			}
		}
	}
}

// halfOpenAt says in each second up to then that so many connections of the pod's listening socket are half open.
func (x handshake) halfOpenAt(length uint32, millis int) []Unanswered {
	for at := time.Second; at <= time.Duration(millis)*time.Millisecond; at += time.Second {
		x.SetHalfOpen(netip.MustParseAddrPort("10.1.0.1:80"), time.Hour+at, length)
	}
	var found []Unanswered
	for _, u := range x.silentAt(millis) {
		if u.HalfOpen > 0 {
			found = append(found, u)
		}
	}
	return found
}

// TestHandshakes tells of a server that goes on answering SYNs while no handshake is completed.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	x := handshake{newTalk(t, Options{})}
	x.open(3999, 500)
	x.client(3999, ackBytes, 502)
	x.tries(1000, 4000, 4001)
	found := x.halfOpenAt(2, 9000)
	if len(found) != 1 {
		t.Fatalf("%+v", found)
	}
	u := found[0]
	if u.SrcWorkload != "web" || u.DstWorkload != "api" || u.Client || u.Source.String() != "10.1.0.1:80" || u.Destination.String() != "10.2.0.1:0" || u.LeftBy != "eth0" {
		t.Errorf("%+v", u)
	}
	if u.Tries != 8 || u.Connections != 2 || u.Others != 7 || u.Seconds != 4 || u.HalfOpen != 2 || u.Answers != 1 {
		t.Errorf("%d SYN-ACKs of %d connections, %d SYNs in %d seconds, %d half open, %d before", u.Tries, u.Connections, u.Others, u.Seconds, u.HalfOpen, u.Answers)
	}
	if u.First < 7.9 || u.First > 8 || u.Last < 0.8 || u.Last > 1 {
		t.Errorf("since %v s, the last %v s ago", u.First, u.Last)
	}
}

// TestHandshakesImpatient tells of clients that give up before they send a SYN again.
func TestHandshakesImpatient(t *testing.T) {
	t.Parallel()
	x := handshake{newTalk(t, Options{})}
	for i := range 12 {
		x.open(4000+i, 1000+700*i)
	}
	if found := x.halfOpenAt(12, 10_000); len(found) != 1 || found[0].Connections != 12 || found[0].Others != 11 {
		t.Errorf("%+v", found)
	}
}

// TestHandshakesCompleted says nothing of those that are completed or refused, nor of what has the sizes of some that are not.
func TestHandshakesCompleted(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(x handshake){
		"connections": func(x handshake) {
			for i := range 80 {
				x.open(4000+i, 1000+100*i)
				x.client(4000+i, ackBytes, 1002+100*i)
				x.client(4000+i, 200, 1003+100*i)
			}
		},
		"a round trip longer than the interval of SYNs": func(x handshake) {
			for i := range 4 {
				x.open(4000+i, 1000+2000*i)
				x.open(4000+i, 2000+2000*i)
				x.client(4000+i, ackBytes, 2500+2000*i)
			}
		},
		"one of several is completed": func(x handshake) {
			x.tries(1000, 4000)
			x.open(4001, 8400)
			x.client(4001, ackBytes, 8402)
		},
		"clients that gave up, and refuse the SYN-ACK": func(x handshake) {
			for i := range 8 {
				x.open(4000+i, 1000+1000*i)
				x.client(4000+i, 40, 1300+1000*i)
			}
		},
		"a client that has gone": func(x handshake) {
			x.open(4000, 1000)
			for _, at := range []int{2000, 4000, 8000} {
				x.server(4000, synBytes, at)
			}
		},
		"a server that answered once, and says nothing since": func(x handshake) {
			x.open(3999, 1000)
			for i := range 8 {
				x.client(4000+i, synBytes, 1100+1000*i)
			}
		},
		"a server that refuses": func(x handshake) {
			for i := range 8 {
				x.client(4000+i, synBytes, 1000+1000*i)
				x.server(4000+i, 40, 1001+1000*i)
			}
		},
		"a server that says nothing": func(x handshake) {
			for _, at := range []int{1000, 2000, 4000, 8000} {
				x.client(4000, synBytes, at)
			}
		},
		"SYNs of a scanner, without options": func(x handshake) {
			for i := range 8 {
				x.client(4000+i, 40, 1000+1000*i)
				x.server(4000+i, 44, 1001+1000*i)
			}
		},
		"the ACK may be among packets that were not sampled": func(x handshake) {
			for i := range 8 {
				x.packet(4000+i, synBytes, 1000+1000*i, false, func(r *record.Record) { r.Weight = 8 })
				x.server(4000+i, synBytes, 1001+1000*i)
			}
		},
		"the ACK was lost here": func(x handshake) {
			for i := range 8 {
				x.open(4000+i, 1000+1000*i)
				x.packet(4000+i, ackBytes, 1002+1000*i, false, func(r *record.Record) { r.Kind, r.Reason = record.Dropped, "NETFILTER_DROP" })
			}
		},
		"small messages of an old connection": func(x handshake) {
			for i := range 40 {
				x.open(4000, 1000+200*i)
			}
		},
		"messages once a second, of a connection that TCP knows": func(x handshake) {
			for i := range 8 {
				x.client(4000, synBytes, 1000+1000*i)
				x.server(4000, ackBytes, 1001+1000*i)
				x.Add(connection("10.1.0.1:80", "10.2.0.1:4000", 1002+1000*i, record.TCP{Ifindex: 1, State: 1}))
			}
		},
	} {
		x := handshake{newTalk(t, Options{})}
		play(x)
		if found := x.halfOpenAt(3, 9000); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// TestHandshakesByKernel says nothing where the listening socket has no connection half open, had none a moment ago, or was not asked.
func TestHandshakesByKernel(t *testing.T) {
	t.Parallel()
	x := handshake{newTalk(t, Options{})}
	x.tries(1000, 4000)
	if found := x.halfOpenAt(0, 9000); len(found) > 0 {
		t.Errorf("none: %+v", found)
	}
	at := netip.MustParseAddrPort("10.1.0.1:80")
	x.SetHalfOpen(at, time.Hour+7*time.Second, 1)
	x.SetHalfOpen(at, time.Hour+9*time.Second, 1)
	if found := x.halfOpenAt(0, 0); len(found) > 0 {
		t.Errorf("for two seconds: %+v", found)
	}
	x.SetHalfOpen(at, time.Hour+10*time.Second, 1)
	if found := x.halfOpenAt(0, 0); len(found) != 1 {
		t.Errorf("for three seconds: %+v", found)
	}
}

// TestSYNQueuesAreBounded forgets those that were not asked for long.
func TestSYNQueuesAreBounded(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	set := func(port int, at time.Duration) {
		a.SetHalfOpen(netip.AddrPortFrom(netip.MustParseAddr("10.1.0.1"), uint16(port)), at, 1)
	}
	for port := range 2 * maxSYNQueues {
		set(port, time.Hour)
	}
	if len(a.synQueues) != maxSYNQueues {
		t.Errorf("%d", len(a.synQueues))
	}
	set(9000, time.Hour+2*maxPause)
	if len(a.synQueues) != 1 {
		t.Errorf("%d after a while", len(a.synQueues))
	}
}
