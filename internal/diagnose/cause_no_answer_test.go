package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// silenceTo is a client's conversation with default/api at another node, without an answer for the last 12 seconds: a SYN and
// three retransmissions.
func silenceTo(change func(*aggregate.Unanswered)) aggregate.Unanswered {
	u := aggregate.Unanswered{
		PairKey: key("default/web", "default/api", journey.Out), Source: netip.MustParseAddrPort("10.1.0.1:0"),
		Destination: netip.MustParseAddrPort("10.2.0.1:80"), Node: "node-2", Protocol: record.ProtocolTCP, Client: true, Wrapped: true, Ifindex: 4,
		Tries: 4, Seconds: 4, Packets: 4, Connections: 1, Retransmits: 3, Largest: 60, First: 12, Last: 5,
	}
	change(&u)
	return u
}

// datagrams makes it one of requests that were answered before.
func datagrams(port string) func(*aggregate.Unanswered) {
	return func(u *aggregate.Unanswered) {
		u.Protocol, u.Destination = record.ProtocolUDP, netip.MustParseAddrPort("10.2.0.1:"+port)
		u.Tries, u.Seconds, u.Packets, u.Connections, u.Retransmits, u.Last, u.Answers, u.Answered = 40, 12, 40, 40, 0, 0.1, 20, 12.1
	}
}

// pings makes it one of echo requests.
func pings(u *aggregate.Unanswered) {
	datagrams("0")(u)
	u.Protocol, u.Answers, u.Tries = record.ProtocolICMP, 0, 12
}

// halfOpened makes it one of a server that answers a client's SYNs.
func halfOpened(u *aggregate.Unanswered) {
	u.PairKey, u.Client, u.Source = key("default/api", "default/web", journey.Out), false, netip.MustParseAddrPort("10.1.0.1:80")
	u.Destination, u.LeftBy, u.HalfOpen = netip.MustParseAddrPort("10.2.0.1:0"), "eth0", 3
	u.Tries, u.Packets, u.Connections, u.Retransmits, u.Others = 12, 12, 3, 0, 9
}

// outside makes its destination one of the world's.
func outside(u *aggregate.Unanswered) {
	u.PairKey = key("default/web", "_external", journey.Out)
	u.Destination, u.Node, u.Wrapped, u.Translated = netip.MustParseAddrPort("203.0.113.9:443"), "", false, true
}

// kept makes it one of datagrams that NAT sends to a pod that a Service had, by an entry like keptEntry.
func kept(u *aggregate.Unanswered) {
	datagrams("8125")(u)
	u.Service, u.Answers, u.SourcePort, u.Asked = "default/api", 0, 40000, netip.MustParseAddrPort("10.96.0.10:8125")
}

func keptEntry() record.ConntrackEntry {
	return record.ConntrackEntry{
		ConntrackFlow: record.ConntrackFlow{
			Protocol: record.ProtocolUDP, Source: netip.MustParseAddrPort("10.1.0.1:40000"), Destination: netip.MustParseAddrPort("10.96.0.10:8125"),
		},
		Translated: netip.MustParseAddrPort("10.2.0.1:8125"), Assured: true, Timeout: 119 * time.Second,
	}
}

// begunByNode makes it one of connections that the node itself makes.
func begunByNode(u *aggregate.Unanswered) {
	u.PairKey, u.Source, u.Ifindex, u.Wrapped = key("_node", "default/api", journey.Out), netip.MustParseAddrPort("10.0.0.1:0"), 0, false
	u.Tries, u.Seconds, u.Packets, u.Connections, u.Retransmits, u.Last, u.Unreplied = 60, 12, 60, 60, 0, 0.1, 9
	u.ByOneHook = true
}

// TestNoAnswer says of which silences there is an alarm, a warning, or nothing.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*aggregate.Unanswered)
		node   func(*snapshots)
		want   Severity
	}{
		{name: "a SYN and three retransmissions", want: Critical},
		{name: "an established connection", want: Critical, change: func(u *aggregate.Unanswered) { u.Tries, u.Established, u.First, u.Last = 3, true, 11, 4 }},
		{name: "clients that give up", want: Critical, change: func(u *aggregate.Unanswered) { u.Retransmits, u.Connections, u.Tries, u.Last = 0, 12, 12, 0.5 }},
		{name: "one of several servers, much tried", want: Critical, change: func(u *aggregate.Unanswered) { u.PairAnswered, u.Connections = true, 4 }},
		{name: "one of several servers, answering before", want: Critical, change: func(u *aggregate.Unanswered) { u.PairAnswered, u.Answers = true, 9 }},
		{name: "one of several servers, tried once", want: Warning, change: func(u *aggregate.Unanswered) { u.PairAnswered = true }},
		{name: "requests over UDP", want: Critical, change: datagrams("9000")},
		{name: "queries for names", want: Critical, change: func(u *aggregate.Unanswered) { datagrams("5353")(u); u.Query, u.Answers, u.Tries = true, 0, 6 }},
		{name: "pings of a pod", want: Critical, change: pings},
		{name: "the world, answering before", want: Critical, change: func(u *aggregate.Unanswered) { outside(u); u.Answers, u.Connections = 9, 5 }},
		{name: "the world, untranslated", want: Critical, change: func(u *aggregate.Unanswered) { outside(u); u.Translated, u.Tries, u.OutsideAnswered = false, 30, true }},
		{name: "a Service's address, untranslated", want: Critical, change: func(u *aggregate.Unanswered) {
			outside(u)
			u.PairKey, u.Service, u.Tries = key("default/web", "_unknown", journey.Out), "default/api", 30
		}},
		{name: "who is known by the tunnel alone", want: Critical, change: func(u *aggregate.Unanswered) {
			u.PairKey, u.Tries = key("_unknown", "_unknown", journey.Out), 30
		}},
		{name: "sampled, and much tried", want: Critical, change: func(u *aggregate.Unanswered) { u.Sampled, u.Tries = true, 30 }},
		{name: "a server's connection to a client that is silent", want: Critical, change: func(u *aggregate.Unanswered) { u.Client = false }},
		{name: "the server is heard on older connections", want: Critical, change: func(u *aggregate.Unanswered) { u.Others, u.Connections, u.Tries = 9, 5, 20 }},
		{name: "one segment again and again, as the server does", want: Critical, change: func(u *aggregate.Unanswered) {
			u.Others, u.Connections, u.Again, u.Retransmits, u.Tries, u.Answers = 6, 0, 5, 6, 13, 100
		}},
		{name: "an owner that has gone, for long", want: Critical, change: func(u *aggregate.Unanswered) { datagrams("9000")(u); u.Gone, u.First, u.Tries = true, 70, 900 }},
		{name: "longer than the window", want: Critical, change: func(u *aggregate.Unanswered) { u.First, u.Last, u.Tries = 120, 30, 8 }},

		{name: "datagrams to a pod that a Service had, answered before tracing began", want: Critical, change: kept, node: func(e *snapshots) {
			e.to.Conntrack = []record.ConntrackEntry{keptEntry()}
		}},
		{name: "datagrams by an entry to a pod that has gone", want: Warning, change: func(u *aggregate.Unanswered) { kept(u); u.Gone = true }, node: func(e *snapshots) {
			e.to.Conntrack = []record.ConntrackEntry{keptEntry()}
		}},

		{name: "the node's own client, by the connection table", want: Critical, change: begunByNode},
		{name: "the node's own client, by TCP", want: Critical, change: func(u *aggregate.Unanswered) { begunByNode(u); u.Unreplied, u.Retransmits = 0, 4 }},
		{name: "the node's own client, answered in a tunnel before", want: Critical, change: func(u *aggregate.Unanswered) { begunByNode(u); u.Unreplied, u.ByOneHook = 0, false }},
		{name: "the node's own client, of which nothing is known", change: func(u *aggregate.Unanswered) { begunByNode(u); u.Unreplied = 0 }},
		{name: "the node's own client, of which two queries are known to be lost", change: func(u *aggregate.Unanswered) { begunByNode(u); u.Unreplied = 2 }},

		{name: "SYN-ACKs to a pod", want: Critical, change: halfOpened},
		{name: "SYN-ACKs to a node, which may stand for others", want: Warning, change: func(u *aggregate.Unanswered) {
			halfOpened(u)
			u.PairKey = key("default/api", "_node", journey.Out)
		}},
		{name: "SYN-ACKs to the world: a flood", change: func(u *aggregate.Unanswered) {
			halfOpened(u)
			u.PairKey = key("default/api", "_external", journey.Out)
		}},
		{name: "SYN-ACKs to a pod, for three seconds", change: func(u *aggregate.Unanswered) { halfOpened(u); u.First, u.Last = 3, 0.5 }},
		{name: "SYN-ACKs to a pod that has stopped asking", change: func(u *aggregate.Unanswered) { halfOpened(u); u.First, u.Last = 90, 70 }},
		{name: "SYN-ACKs to a pod, where ACKs come past the hooks", change: halfOpened, node: func(e *snapshots) {
			e.to.Counts.AnswersUnseen, e.to.Counts.AnswersSeen = 50, 3
		}},

		{name: "the world, never answering", want: Warning, change: outside},
		{name: "an owner that has gone", want: Warning, change: func(u *aggregate.Unanswered) { u.Gone, u.Answers = true, 9 }},
		{name: "a connection to an owner that has gone", want: Warning, change: func(u *aggregate.Unanswered) { u.Gone, u.Established, u.First, u.Last = true, true, 90, 20 }},
		{name: "drops are not seen", want: Warning, node: func(e *snapshots) { e.to.DropsUnseen = true }},
		{name: "a ping of a Service", want: Warning, change: func(u *aggregate.Unanswered) {
			pings(u)
			u.PairKey, u.Service = key("default/web", "_unknown", journey.Out), "default/api"
		}},

		{name: "reports to a Service", change: kept, node: func(e *snapshots) {
			entry := keptEntry()
			entry.Assured = false
			e.to.Conntrack = []record.ConntrackEntry{entry}
		}},
		{name: "reports over UDP", change: func(u *aggregate.Unanswered) { datagrams("514")(u); u.Answers = 0 }},
		{name: "keeping a NAT's entry alive", change: func(u *aggregate.Unanswered) { datagrams("4500")(u); u.Tries, u.First = 12, 240 }},
		{name: "some datagrams", change: func(u *aggregate.Unanswered) { datagrams("9000")(u); u.Tries = 6 }},
		{name: "errors by ICMP", change: func(u *aggregate.Unanswered) { pings(u); u.AddressAnswered = true }},
		{name: "a node's errors by ICMP", change: func(u *aggregate.Unanswered) {
			pings(u)
			u.PairKey, u.Ifindex = key("_node", "default/web", journey.Out), 0
		}},
		{name: "a window of two seconds", change: func(u *aggregate.Unanswered) { u.First, u.Last = 2, 0.5 }},
		{name: "connections that ended", change: func(u *aggregate.Unanswered) { u.First, u.Last = 12, 11.5 }},
		{name: "a client that gave up", change: func(u *aggregate.Unanswered) { u.First, u.Last = 14, 7.1; u.Tries = 3; u.First = 10.1 }},
		{name: "refused by ICMP", change: func(u *aggregate.Unanswered) { u.Refused = true }},
		{name: "lost on this node", change: func(u *aggregate.Unanswered) { u.Dropped = 4 }},
		{name: "sampled", change: func(u *aggregate.Unanswered) { u.Sampled, u.Retransmits = true, 2 }},
		{name: "records missed", node: func(e *snapshots) { e.to.Counts.MissedRecords = 15 }},
		{name: "in two moments", change: func(u *aggregate.Unanswered) { u.Seconds = 2 }},
		{name: "most is lost, not all", change: func(u *aggregate.Unanswered) { u.Gap, u.Answers = 6, 9 }},
		{name: "a scan", change: func(u *aggregate.Unanswered) {
			u.PairKey, u.Elsewhere = key("default/web", "_unknown", journey.Out), 40
		}},
		{name: "a connection beside others that are answered", change: func(u *aggregate.Unanswered) { u.Others, u.Retransmits, u.Connections = 400, 2, 1 }},
		{name: "an outage that is over, before TCP tries again", change: func(u *aggregate.Unanswered) {
			u.Others, u.OpenAgain, u.Connections, u.Again, u.Retransmits, u.Tries, u.Answers = 8, true, 4, 20, 24, 33, 100
		}},
		{name: "connections that were older", change: func(u *aggregate.Unanswered) { u.Others, u.Retransmits, u.Connections, u.Tries = 4, 0, 5, 8 }},
		{name: "TCP's acknowledgements were not told", change: func(u *aggregate.Unanswered) {
			u.Others, u.Connections, u.Again, u.Tries, u.Answers = 90, 0, 4, 100, 1000
		}},
		{name: "a node's own", change: func(u *aggregate.Unanswered) { u.PairKey = key("_node", "_node", journey.Out) }},
		{name: "a client that has gone", change: func(u *aggregate.Unanswered) { u.Client, u.AddressAnswered = false, true }},
		{name: "a client outside that has gone", change: func(u *aggregate.Unanswered) { outside(u); u.Client = false }},
		{name: "answers wait on this node", node: func(e *snapshots) {
			e.to.Counts.InFlight = []aggregate.InFlight{{Pairs: []aggregate.InFlightPair{{PairKey: key("default/api", "default/web", journey.In)}}}}
		}},
		{name: "answers come past the hooks", change: datagrams("9000"), node: func(e *snapshots) { e.to.Counts.AnswersUnseen, e.to.Counts.AnswersSeen = 50, 3 }},
		{name: "answers that the pod's device counts", change: datagrams("9000"), node: func(e *snapshots) { e.to.Devices[0].Traffic.TxPackets += 40 }},
		{name: "answers past the pod's device", change: func(u *aggregate.Unanswered) { u.Retransmits, u.Connections, u.Tries, u.Last = 0, 12, 12, 0.5 },
			node: func(e *snapshots) { e.to.Devices[0].Traffic.TxPackets, e.from.Devices[0].Traffic.TxPackets = 3, 3 }},
	} {
		pod := func(tx uint64) []netdev.Device {
			return []netdev.Device{{Index: 4, Name: "cali1", Role: netdev.RolePod, Up: true, Traffic: netdev.Traffic{RxPackets: 1000, TxPackets: tx}}}
		}
		if test.change == nil {
			test.change = func(*aggregate.Unanswered) {}
		}
		e := &snapshots{
			from: Snapshot{Taken: noon, Devices: pod(900)},
			to: Snapshot{Taken: noon.Add(15 * time.Second), Devices: pod(902), Counts: &aggregate.Snapshot{
				Unanswered: []aggregate.Unanswered{silenceTo(test.change)}, Records: 100,
			}},
		}
		if test.node != nil {
			test.node(e)
		}
		r := e.diagnose()
		switch {
		case test.want == "" && len(r.Findings) == 0:
		case len(r.Findings) != 1 || r.Findings[0].Cause != NoAnswer || r.Findings[0].Severity != test.want:
			t.Errorf("%s: %+v, want %q", test.name, r.Findings, test.want)
		case r.Findings[0].Stage != "" || r.Findings[0].Confidence <= 0 || len(r.Findings[0].Next) == 0:
			t.Errorf("%s: incomplete: %+v", test.name, r.Findings[0])
		}
	}
}

// TestNoAnswerSays who, since when, how often and by what, in evidence and summary.
func TestNoAnswerSays(t *testing.T) {
	t.Parallel()
	counts := &aggregate.Snapshot{Taken: noon.Add(15 * time.Second), Unanswered: []aggregate.Unanswered{
		silenceTo(func(u *aggregate.Unanswered) { u.Service = "default/api" }), silenceTo(datagrams("53")),
	}}
	e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts}}
	r := e.diagnose()
	want := []string{
		"default/web → default/api at 10.2.0.1:80 (tcp): 4 packets since 14:02:33 (12 s), the last 5 s ago, 3 retransmissions by TCP; never answered since tracing began",
		"default/web → default/api at 10.2.0.1:53 (udp): 40 packets of 40 connections since 14:02:33 (12 s), the last 100 ms ago; answered until 14:02:32",
		"who does not answer is on node-2",
	}
	if len(r.Findings) != 1 || strings.Join(r.Findings[0].Evidence, "\n") != strings.Join(want, "\n") {
		t.Errorf("evidence %q", r.Findings[0].Evidence)
	}
	if want := "node-1 sees no answer to default/web → default/api: 44 packets (tcp, udp) left this node since 14:02:33, 0 back"; r.Summary != want {
		t.Errorf("summary %q", r.Summary)
	}
	if r.Verdict != Fault || *r.Findings[0].Drops.Ratio != 1 || r.Findings[0].PairsTotal != 1 {
		t.Errorf("%+v", r)
	}
}

// TestNoAnswerToSYNACKs says what leaves, what comes, and what the kernel says.
func TestNoAnswerToSYNACKs(t *testing.T) {
	t.Parallel()
	counts := &aggregate.Snapshot{Taken: noon.Add(15 * time.Second), Unanswered: []aggregate.Unanswered{silenceTo(halfOpened)}}
	e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts}}
	r := e.diagnose()
	if want := "node-1 sees SYN-ACKs of default/api leave eth0 and no ACK of default/web comes: 12 SYN-ACKs since 14:02:33; the answers are lost after they left"; r.Summary != want {
		t.Errorf("summary %q", r.Summary)
	}
	want := []string{
		"default/api → default/web at 10.2.0.1 (tcp): 12 packets (SYN-ACKs) of 3 connections since 14:02:33 (12 s), the last 5 s ago; never answered since tracing began",
		"who does not answer is on node-2",
		"SYN-ACKs of default/api leave eth0 and no ACK of 10.2.0.1 comes: of it came 9 SYNs after a SYN-ACK had left, and nothing else; its listening socket has 3 connections half open",
		"SYNs come, so the way here is open: what is lost is lost on the way there, or in the client's pod",
	}
	if len(r.Findings) != 1 || strings.Join(r.Findings[0].Evidence, "\n") != strings.Join(want, "\n") {
		t.Fatalf("%+v", r.Findings)
	}
	if next := strings.Join(r.Findings[0].Next, "\n"); !strings.HasPrefix(next, "ss -tno state syn-recv dst 10.2.0.1 # in the pod") || !strings.Contains(next, "tracer diagnose # on the node of default/web") {
		t.Errorf("next %q", next)
	}
}

// TestNoAnswerByEntry names the connection table's entry that sends datagrams where nobody is, and the commands that show and
// delete it.
func TestNoAnswerByEntry(t *testing.T) {
	t.Parallel()
	counts := &aggregate.Snapshot{Unanswered: []aggregate.Unanswered{silenceTo(func(u *aggregate.Unanswered) { kept(u); u.Gone, u.First, u.Tries = true, 70, 900 })}}
	e := &snapshots{
		from: Snapshot{Taken: noon},
		to:   Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts, Conntrack: []record.ConntrackEntry{keptEntry()}},
	}
	r := e.diagnose()
	if len(r.Findings) != 1 || r.Findings[0].Severity != Critical {
		t.Fatalf("%+v", r.Findings)
	}
	want := "an entry of the connection table translates what 10.1.0.1:40000 sends to 10.96.0.10:8125: to 10.2.0.1, until it has sent nothing for 119 seconds, " +
		"even where the Service has other pods by now; that address is nobody's any more"
	if said := strings.Join(r.Findings[0].Evidence, "\n"); !strings.Contains(said, want) {
		t.Errorf("evidence %q", said)
	}
	if want := "conntrack -L -p udp --orig-src 10.1.0.1 --orig-dst 10.96.0.10 --orig-port-dst 8125"; !strings.HasPrefix(r.Findings[0].Next[0], want) {
		t.Errorf("next %q", r.Findings[0].Next)
	}
}

// TestNoAnswerLocal is of a pod of this node: what is explained there is not told twice.
func TestNoAnswerLocal(t *testing.T) {
	t.Parallel()
	local := func(explained bool) Report {
		u := silenceTo(func(u *aggregate.Unanswered) { u.Direction, u.Wrapped = journey.Local, false })
		counts := &aggregate.Snapshot{Unanswered: []aggregate.Unanswered{u}}
		if explained {
			counts.Pairs = []aggregate.Pair{{PairKey: u.PairKey, TCP: &aggregate.TCP{AcceptQueueFullSeconds: 12}}}
		}
		e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts}}
		return e.diagnose()
	}
	r := local(false)
	if len(r.Findings) != 1 || r.Findings[0].Cause != NoAnswer || r.Findings[0].Stage != journey.Deliver || r.Findings[0].Device != netdev.PodLabel {
		t.Errorf("%+v", r.Findings)
	}
	if r := local(true); len(r.Findings) != 1 || r.Findings[0].Cause != AcceptQueueFull {
		t.Errorf("told twice: %+v", r.Findings)
	}
}

// TestNoAnswerIsNoLoss leaves retransmissions that get no answer out of remote-loss.
func TestNoAnswerIsNoLoss(t *testing.T) {
	t.Parallel()
	u := silenceTo(func(u *aggregate.Unanswered) { u.PairAnswered, u.Connections, u.Tries, u.Retransmits = true, 9, 40, 30 })
	pair := aggregate.Pair{PairKey: u.PairKey, Packets: 500, TCP: &aggregate.TCP{Segments: 500, Retransmits: 31, Delivered: 470}}
	counts := &aggregate.Snapshot{Unanswered: []aggregate.Unanswered{u}, Pairs: []aggregate.Pair{pair}}
	e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts}}
	if r := e.diagnose(); len(r.Findings) != 1 || r.Findings[0].Cause != NoAnswer {
		t.Errorf("%+v", r.Findings)
	}
	counts.Unanswered = nil
	if r := e.diagnose(); len(r.Findings) != 1 || r.Findings[0].Cause != RemoteLoss {
		t.Errorf("without: %+v", r.Findings)
	}
}
