package diagnose

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// trips are round trips to one node.
type trips struct {
	node    string
	kept    bool // of connections that are kept: no handshakes
	seconds []float64
	usual   float64 // 0: not learnt
}

func many(seconds float64) []float64 { return slices.Repeat([]float64{seconds}, 40) }

// TestGrowingQueue: round trips of a second through a queue here that holds most packets for 0.2 s, and a few for longer than a second, while
// it grows: nothing of that need be beyond this node.
func TestGrowingQueue(t *testing.T) {
	t.Parallel()
	for name, longest := range map[string]float64{"grows": 1.8, "stays": 0.2} {
		s := load(t, "testdata/remote-delay.json")
		e := s.snapshots()
		p := &e.to.Counts.Pairs[slices.IndexFunc(e.to.Counts.Pairs, func(p aggregate.Pair) bool { return p.TCP != nil })]
		p.TCP.RTT, p.TCP.HandshakeRTT, p.Path = hist.Histogram{}, hist.Histogram{}, hist.Histogram{}
		for i := range 100 {
			p.TCP.RTT.Observe(0.04+0.012*float64(i), 1)
			p.Path.Observe([]float64{0.2, longest}[i/90], 1)
		}
		if r := e.diagnose(); (r.Verdict == Fault) != (longest == 0.2) {
			t.Errorf("%s: %s: %s", name, r.Verdict, r.Summary)
		}
	}
}

// TestFarNodes compares round trips with what is usual to the node that they lead to.
func TestFarNodes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		to        []trips
		fault     bool
		p50       float64
		node      string
		uncertain bool
	}{
		"far, as usual":              {to: []trips{{node: "b", seconds: many(0.04), usual: 0.04}}},
		"far, not learnt":            {to: []trips{{node: "b", seconds: many(0.04)}}},
		"farther, not learnt":        {to: []trips{{node: "b", seconds: many(0.06)}}},
		"far, with delayed acks":     {to: []trips{{node: "b", kept: true, seconds: many(0.085)}}},
		"very far, as usual":         {to: []trips{{node: "b", seconds: many(0.15), usual: 0.148}}},
		"another way":                {to: []trips{{node: "b", seconds: many(0.19), usual: 0.15}}},
		"near ones and a far one":    {to: []trips{{node: "b", seconds: many(0.001), usual: 0.001}, {node: "c", seconds: many(0.04), usual: 0.04}, {node: "d", seconds: many(0.0008)}}},
		"some slow ones":             {to: []trips{{node: "b", seconds: slices.Concat(many(0.04), many(0.3)[:8])}}},
		"near, slow":                 {to: []trips{{node: "b", seconds: many(0.031), usual: 0.001}}, fault: true, p50: 0.03, node: "b"},
		"far, slow":                  {to: []trips{{node: "b", seconds: many(0.24), usual: 0.04}}, fault: true, p50: 0.2, node: "b"},
		"far, slow, not learnt":      {to: []trips{{node: "b", seconds: many(0.24)}}, fault: true, p50: 0.24, node: "b", uncertain: true},
		"growing, not learnt":        {to: []trips{{node: "b", seconds: slices.Concat(many(0.04)[:5], many(0.24))}}, fault: true, p50: 0.2, node: "b", uncertain: true},
		"near well, far one slow":    {to: []trips{{node: "b", seconds: many(0.001), usual: 0.001}, {node: "c", seconds: many(0.24), usual: 0.04}}, fault: true, p50: 0.2, node: "c"},
		"kept connections, far slow": {to: []trips{{node: "b", kept: true, seconds: many(0.24), usual: 0.04}}, fault: true, p50: 0.2, node: "b"},
	} {
		s := load(t, "testdata/remote-delay.json")
		e := s.snapshots()
		tcp := e.to.Counts.Pairs[slices.IndexFunc(e.to.Counts.Pairs, func(p aggregate.Pair) bool { return p.TCP != nil })].TCP
		tcp.RTT, tcp.HandshakeRTT = hist.Histogram{}, hist.Histogram{}
		e.to.PeerRTT = map[PeerKey]float64{}
		for _, to := range test.to {
			peer := aggregate.PeerRTT{Node: to.node}
			for _, rtt := range to.seconds {
				peer.RTT.Observe(rtt, 1)
				if !to.kept {
					peer.HandshakeRTT.Observe(rtt, 1)
				}
			}
			tcp.RTT.Merge(&peer.RTT)
			tcp.HandshakeRTT.Merge(&peer.HandshakeRTT)
			tcp.Peers = append(tcp.Peers, peer)
			if to.usual > 0 {
				e.to.PeerRTT[PeerKey{to.node, !to.kept}] = to.usual
			}
		}
		r := e.diagnose()
		if (r.Verdict == Fault) != test.fault {
			t.Errorf("%s: %s: %s", name, r.Verdict, r.Summary)
			continue
		}
		if !test.fault {
			continue
		}
		f := &r.Findings[0]
		if f.Cause != RemoteDelay || !within(*f.Delay.P50, test.p50, 0.06) || !strings.Contains(f.Evidence[0], " on "+test.node) {
			t.Errorf("%s: %s, p50 %v: %q", name, f.Cause, *f.Delay.P50, f.Evidence)
		}
		if (f.Confidence < 0.5) != test.uncertain || test.uncertain == f.HasBaseline() {
			t.Errorf("%s: confidence %v, baseline %v", name, f.Confidence, f.Delay.Baseline)
		}
	}
}

// handshaking are snapshots of a node of which a pod's handshakes with node b take so long, and took so long before the window.
func handshaking(t *testing.T, seconds, before float64) (e *snapshots, pair *aggregate.Pair) {
	t.Helper()
	e = load(t, "testdata/remote-delay.json").snapshots()
	pair = &e.to.Counts.Pairs[slices.IndexFunc(e.to.Counts.Pairs, func(p aggregate.Pair) bool { return p.TCP != nil })]
	pair.Requests = &aggregate.Requests{}
	pair.Requests.Client.Connects.Observe(seconds, 40)
	all := func(trips []float64) *aggregate.TCP {
		tcp, peer := *pair.TCP, aggregate.PeerRTT{Node: "b"}
		for _, rtt := range trips {
			peer.RTT.Observe(rtt, 1)
			peer.HandshakeRTT.Observe(rtt, 1)
		}
		tcp.RTT, tcp.HandshakeRTT, tcp.Peers = peer.RTT, peer.HandshakeRTT, []aggregate.PeerRTT{peer}
		return &tcp
	}
	if before > 0 {
		old := aggregate.Pair{PairKey: pair.PairKey, TCP: all(many(before))}
		old.TCP.Delivered, old.TCP.Segments, old.TCP.Retransmits = 0, 0, 0
		e.from.Counts = &aggregate.Snapshot{Pairs: []aggregate.Pair{old}}
		pair.TCP = all(slices.Concat(many(before), many(seconds)))
	} else {
		pair.TCP = all(many(seconds))
	}
	e.to.PeerRTT = map[PeerKey]float64{{"b", true}: 0.001}
	return e, pair
}

// TestSmallRemoteDelay names a delay that is small against others, and no fault, where the usual round trip was learnt.
func TestSmallRemoteDelay(t *testing.T) {
	t.Parallel()
	few := func(_ *snapshots, p *aggregate.Pair) {
		p.Requests.Client.Connects = hist.Histogram{}
		p.Requests.Client.Connects.Observe(0.009, 4)
	}
	for name, test := range map[string]struct {
		seconds, before, usual float64
		severity               Severity // "": nothing is said
		but                    func(*snapshots, *aggregate.Pair)
	}{
		"8 ms":                             {seconds: 0.009, before: 0.001, usual: 0.001, severity: Warning},
		"3 ms":                             {seconds: 0.004, before: 0.001, usual: 0.001},
		"30 ms":                            {seconds: 0.031, before: 0.001, usual: 0.001, severity: Critical},
		"30 ms, of an unknown pair":        {seconds: 0.031, usual: 0.001, severity: Critical},
		"8 ms, not learnt":                 {seconds: 0.009, before: 0.001},
		"8 ms, of a far one":               {seconds: 0.048, before: 0.04, usual: 0.04},
		"another way, half off":            {seconds: 0.016, before: 0.010, usual: 0.010, severity: Warning},
		"8 ms, as this pair always has":    {seconds: 0.009, before: 0.009, usual: 0.001},
		"9 ms more than this pair's 8":     {seconds: 0.018, before: 0.009, usual: 0.001, severity: Warning},
		"8 ms, of a pair that is new":      {seconds: 0.009, usual: 0.001},
		"8 ms, of connections to the pod":  {0.009, 0.001, 0.001, "", func(_ *snapshots, p *aggregate.Pair) { p.Requests = nil }},
		"8 ms, few opened by the pod":      {0.009, 0.001, 0.001, "", few},
		"30 ms, of connections to the pod": {0.031, 0.001, 0.001, Critical, func(_ *snapshots, p *aggregate.Pair) { p.Requests = nil }},
		"8 ms, both open connections": {0.009, 0.001, 0.001, "", func(e *snapshots, p *aggregate.Pair) {
			taken := aggregate.Pair{PairKey: p.Reverse(), Requests: &aggregate.Requests{}}
			taken.Requests.Server.Connects.Observe(0.001, 10)
			e.to.Counts.Pairs = append(e.to.Counts.Pairs, taken)
		}},
		"8 ms, without CPU":  {0.009, 0.001, 0.001, "", func(e *snapshots, _ *aggregate.Pair) { withoutCPU(e) }},
		"30 ms, without CPU": {0.031, 0.001, 0.001, Warning, func(e *snapshots, _ *aggregate.Pair) { withoutCPU(e) }},
		"90 ms, without CPU": {0.091, 0.001, 0.001, Critical, func(e *snapshots, _ *aggregate.Pair) { withoutCPU(e) }},
	} {
		e, pair := handshaking(t, test.seconds, test.before)
		if e.to.PeerRTT = nil; test.usual > 0 {
			e.to.PeerRTT = map[PeerKey]float64{{"b", true}: test.usual}
		}
		if test.but != nil {
			test.but(e, pair)
		}
		r := e.diagnose()
		if fault := test.severity == Critical; fault != (r.Verdict == Fault) {
			t.Errorf("%s: %s: %s", name, r.Verdict, r.Summary)
		}
		var got Severity
		for i := range r.Findings {
			if f := &r.Findings[i]; f.Cause == RemoteDelay {
				got = f.Severity
				usual := test.usual
				if got == Warning && test.seconds < 0.03 {
					usual = max(usual, test.before)
				}
				if !within(*f.Delay.P50, test.seconds-usual, 0.15) {
					t.Errorf("%s: a delay of %v", name, *f.Delay.P50)
				}
			}
		}
		if got != test.severity {
			t.Errorf("%s: severity %q, want %q: %s", name, got, test.severity, r.Summary)
		}
	}
}

// withoutCPU has the hypervisor take a third of the machine's CPUs.
func withoutCPU(e *snapshots) {
	e.from.Stats.CPUs = []record.CPUTime{{}}
	e.to.Stats.CPUs = []record.CPUTime{{All: 1500, Idle: 500, Steal: 500}}
}

// TestLittleBesideMuch makes no fault of two pairs, of which one is slower by enough for that, but was measured a few times, and the other
// was measured often, but is hardly slower.
func TestLittleBesideMuch(t *testing.T) {
	t.Parallel()
	for trips, severity := range map[int]Severity{4: Warning, 5: Critical} {
		e, little := handshaking(t, 0.009, 0.001)
		much := *little
		much.DstWorkload, much.Requests = "db", nil
		much.TCP = &aggregate.TCP{Segments: 100, Delivered: 100}
		peer := aggregate.PeerRTT{Node: "b"}
		for range trips {
			peer.RTT.Observe(0.05, 1)
			peer.HandshakeRTT.Observe(0.05, 1)
		}
		much.TCP.RTT, much.TCP.HandshakeRTT, much.TCP.Peers = peer.RTT, peer.HandshakeRTT, []aggregate.PeerRTT{peer}
		e.to.Counts.Pairs = append(e.to.Counts.Pairs, much)
		r := e.diagnose()
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Cause == RemoteDelay })
		if i < 0 || r.Findings[i].Severity != severity {
			t.Fatalf("%d of the slow one: %+v", trips, r.Findings)
		}
		named := len(r.Findings[i].Pairs)
		if severity == Critical && (named != 1 || r.Findings[i].Pairs[0].Dst != "default/db") || severity == Warning && named != 2 {
			t.Errorf("%d of the slow one: %+v", trips, r.Findings[i].Pairs)
		}
	}
}

// TestPeersLimit excuses what a pod of another node loses at its limit, if it gets as much as that lets it.
func TestPeersLimit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit   uint64
		verdict Verdict
	}{{0, Fault}, {10_000_000, Healthy}, {100_000_000, Fault}} {
		for _, file := range []string{"remote-loss", "remote-delay"} {
			e := load(t, "testdata/"+file+".json").snapshots()
			p := &e.to.Counts.Pairs[slices.IndexFunc(e.to.Counts.Pairs, func(p aggregate.Pair) bool { return p.TCP != nil })]
			p.TCP.PeerLimit, p.Bytes = test.limit, 9e6/8*15 // 9 Mbit/s
			r := e.diagnose()
			if r.Verdict != test.verdict {
				t.Errorf("%s, limited to %d: %s: %s", file, test.limit, r.Verdict, r.Summary)
			}
			if test.verdict == Healthy && (r.Findings[0].Severity != Info || !strings.Contains(r.Summary, "its annotation asks for 10 Mbit/s")) {
				t.Errorf("%s: %s", file, r.Summary)
			}
		}
	}
}

// TestLearnPeers learns how far other nodes are.
func TestLearnPeers(t *testing.T) {
	t.Parallel()
	var b Baseline
	now := time.Unix(0, 0)
	key := PeerKey{"node2", true}
	minute := func(rtt float64, found ...Finding) {
		var p aggregate.PeerRTT
		p.Node = "node2"
		for range 20 {
			p.RTT.Observe(2*rtt, 1) // delayed acknowledgements
			p.HandshakeRTT.Observe(rtt, 1)
		}
		now = now.Add(time.Minute)
		b.LearnPeers([]aggregate.Pair{{
			PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api", Direction: journey.Out},
			Packets: 100, TCP: &aggregate.TCP{Peers: []aggregate.PeerRTT{p}},
		}}, found, now)
	}
	near := func(want float64) bool { return math.Abs(b.PeerRTT()[key]-want) < 0.05*want }
	for range knownAfter - 1 {
		minute(0.04)
	}
	if len(b.PeerRTT()) != 0 {
		t.Errorf("known after %d minutes: %v", knownAfter-1, b.PeerRTT())
	}
	minute(0.04)
	if !near(0.04) {
		t.Errorf("after %d minutes: %v", knownAfter, b.PeerRTT())
	}
	if other := b.PeerRTT()[PeerKey{"node2", false}]; math.Abs(other-0.08) > 0.004 {
		t.Errorf("of kept connections %v", other)
	}
	slow := Finding{Cause: RemoteDelay, Delay: &Delay{Baseline: new(0.04)}}
	for range 3 * firstMinutes { // a fault, soon after the start
		minute(0.24, slow)
	}
	if !near(0.04) {
		t.Errorf("after a fault: %v", b.PeerRTT())
	}
	for range 2 * firstMinutes {
		minute(0.04)
	}
	for range 60 { // an hour of it, later
		minute(0.24, slow)
	}
	if got := b.PeerRTT()[key]; got < 0.038 || got > 0.045 {
		t.Errorf("after an hour of a fault: %v", got)
	}
	var again Baseline
	again.RestorePeers(b.Peers())
	if again.PeerRTT()[key] != b.PeerRTT()[key] {
		t.Errorf("restored %v, want %v", again.PeerRTT(), b.PeerRTT())
	}

	// A node that is farther than sites are is known later: that may be a fault.
	b, now = Baseline{}, time.Unix(0, 0)
	for range farKnownAfter - 1 {
		minute(0.15)
	}
	if len(b.PeerRTT()) != 0 {
		t.Errorf("known after %d minutes: %v", farKnownAfter-1, b.PeerRTT())
	}
	if minute(0.15); !near(0.15) {
		t.Errorf("after %d minutes: %v", farKnownAfter, b.PeerRTT())
	}
}
