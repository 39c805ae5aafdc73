package diagnose

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// seenPair is a pair with ends, of which so many packets were seen.
func seenPair(src, dst string, direction journey.Direction, packets float64, from, to string) aggregate.Pair {
	p := aggregate.Pair{PairKey: key(src, dst, direction), Packets: packets, Ends: &aggregate.Ends{
		Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to), Protocol: record.ProtocolTCP, From: 4, To: 2,
		Src: aggregate.Identity{Namespace: "default", Workload: strings.TrimPrefix(src, "default/"), Node: "node-1"},
		Dst: aggregate.Identity{Namespace: "default", Workload: strings.TrimPrefix(dst, "default/"), Node: "node-2"},
	}}
	if direction == journey.In {
		p.Ends.Src.Node, p.Ends.Dst.Node, p.Ends.From, p.Ends.To = "node-2", "node-1", 2, 4
	}
	return p
}

// TestChecked says what was measured between two workloads, from the client's side, whoever's packets come first.
func TestChecked(t *testing.T) {
	t.Parallel()
	const web, api = "10.1.0.1:41000", "10.2.0.1:80"
	withTCP := func(p aggregate.Pair, t aggregate.TCP) aggregate.Pair {
		p.TCP = &t
		return p
	}
	for _, test := range []struct {
		name   string
		pairs  []aggregate.Pair
		want   string // of the first
		peer   string
		silent bool
	}{
		{name: "a client here", want: "default/web → default/api: 749 packets left by eth0, 748 came back; 0 lost on this node", peer: "node-2, where default/api runs",
			pairs: []aggregate.Pair{seenPair("default/web", "default/api", journey.Out, 749, web, api), seenPair("default/api", "default/web", journey.In, 748, api, web)}},
		{name: "answers first", want: "default/web → default/api: 749 packets left by eth0, 750 came back; 0 lost on this node", peer: "node-2, where default/api runs",
			pairs: []aggregate.Pair{seenPair("default/api", "default/web", journey.In, 750, api, web), seenPair("default/web", "default/api", journey.Out, 749, web, api)}},
		{name: "a server here", want: "default/web → default/api: 749 packets came by eth0, 748 went back; 0 lost on this node", peer: "node-2, where default/web runs",
			pairs: []aggregate.Pair{seenPair("default/web", "default/api", journey.In, 749, web, api), seenPair("default/api", "default/web", journey.Out, 748, api, web)}},
		{name: "no answer", want: "default/web → default/api: 749 packets left by eth0, 0 came back; 0 lost on this node", peer: "node-2, where default/api runs", silent: true,
			pairs: []aggregate.Pair{seenPair("default/web", "default/api", journey.Out, 749, web, api)}},
		{name: "answers alone", want: "default/web → default/api: 0 packets came by eth0, 12 went back; 0 lost on this node", peer: "node-2, where default/web runs",
			pairs: []aggregate.Pair{seenPair("default/api", "default/web", journey.Out, 12, api, web)}},
		{name: "answers that are not seen", peer: "node-2, where default/api runs",
			want: "default/web → default/api: 749 packets left by eth0, 0 came back by a way that is seen, and TCP says that 700 segments were acknowledged; " +
				"0 lost on this node, 3 sent again by TCP",
			pairs: []aggregate.Pair{withTCP(seenPair("default/web", "default/api", journey.Out, 749, web, api), aggregate.TCP{Delivered: 700, Retransmits: 3})}},
		{name: "on one node", want: "default/web → default/api: 9 packets there, 8 back, on this node alone; 0 lost on this node",
			pairs: []aggregate.Pair{seenPair("default/web", "default/api", journey.Local, 9, web, api), seenPair("default/api", "default/web", journey.Local, 8, api, web)}},
		{name: "one workload", want: "default/db → default/db: 9 packets left by eth0, 8 came back; 0 lost on this node", peer: "node-2, where default/db runs",
			pairs: []aggregate.Pair{seenPair("default/db", "default/db", journey.Out, 9, web, api), seenPair("default/db", "default/db", journey.In, 8, api, web)}},
		{name: "kubelet's probes come last", want: "default/web → default/api: 10 packets left by eth0, 0 came back; 0 lost on this node", peer: "node-2, where default/api runs", silent: true,
			pairs: []aggregate.Pair{{PairKey: key("_node", "default/web", journey.In), Packets: 90}, seenPair("default/web", "default/api", journey.Out, 10, web, api)}},
		{name: "of an unknown direction", want: "default/web → default/api: 0 packets there, 0 back; 7 lost on this node",
			pairs: []aggregate.Pair{{PairKey: key("default/web", "default/api", ""), Drops: []aggregate.DropCount{{DropKey: aggregate.DropKey{Loss: true}, Packets: 7}}}}},
	} {
		w := newWindow("node-1", Snapshot{}, Snapshot{
			Counts:  &aggregate.Snapshot{Pairs: test.pairs},
			Devices: []netdev.Device{{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Leaves: true}, {Index: 4, Name: "cali1", Role: netdev.RolePod}},
		})
		all, _ := w.checked()
		data, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		var read []Checked // by whom the agent was asked
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatal(err)
		}
		p := &read[0]
		if got := p.Sentence(); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		if p.peer() != test.peer || p.Silent() != test.silent {
			t.Errorf("%s: peer %q, silent %v", test.name, p.peer(), p.Silent())
		}
	}
}

// TestCheckedOfAll finds all pairs again, whatever their names and directions are.
func TestCheckedOfAll(t *testing.T) {
	t.Parallel()
	names := []string{"default/a", "default/b", "other/a", "_node", "_external"}
	for _, src := range names {
		for _, dst := range names {
			for _, direction := range []journey.Direction{journey.Out, journey.In, journey.Local, ""} {
				p := aggregate.Pair{PairKey: key(src, dst, direction), Packets: 3}
				w := newWindow("node-1", Snapshot{}, Snapshot{Counts: &aggregate.Snapshot{Pairs: []aggregate.Pair{p}}})
				all, total := w.checked()
				if want := involvesPod(&p.PairKey); len(all) != total || (total == 1) != want || want && all[0].There+all[0].Back != 3 {
					t.Errorf("%s → %s %s: %+v of %d", src, dst, direction, all, total)
				}
			}
		}
	}
}

// TestCheckedRoundTrip has the round trip of all connections of two workloads, whichever of their pairs comes last.
func TestCheckedRoundTrip(t *testing.T) {
	t.Parallel()
	rtt := func(p aggregate.Pair, seconds float64, n uint64) aggregate.Pair {
		p.TCP = &aggregate.TCP{}
		p.TCP.RTT.Observe(seconds, n)
		return p
	}
	pairs := []aggregate.Pair{
		rtt(seenPair("default/web", "default/api", journey.Out, 90, "10.1.0.1:41000", "10.2.0.1:80"), 0.030, 90),
		rtt(seenPair("default/web", "default/api", journey.Local, 5, "10.1.0.1:41000", "10.1.0.2:80"), 0.0001, 5),
		rtt(seenPair("default/api", "default/web", journey.In, 5, "10.2.0.1:80", "10.1.0.1:41000"), 0.0002, 5),
	}
	w := newWindow("node-1", Snapshot{}, Snapshot{Counts: &aggregate.Snapshot{Pairs: pairs}})
	all, _ := w.checked()
	if got := all[0].RoundTrip; len(all) != 1 || got == nil || *got < 0.025 || *got > 0.035 {
		t.Errorf("%+v", all)
	}
}

func TestHeading(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		verdict  Verdict
		severity Severity
		want     string
	}{
		{Healthy, "", "HEALTHY"}, {Healthy, "info", "HEALTHY"}, {Healthy, Warning, "WARNING"}, {Fault, Critical, "FAULT"}, {NoTraffic, Warning, "NO TRAFFIC"},
	} {
		if got := Heading(test.verdict, []Finding{{Severity: test.severity}}); got != test.want {
			t.Errorf("%s with %q: %s, want %s", test.verdict, test.severity, got, test.want)
		}
	}
}
