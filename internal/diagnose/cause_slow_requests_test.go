package diagnose

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// asking is a pair whose requests to a pod on node b take so long each, as the client's device sees it, over connections that are kept; so
// do the round trips, as acknowledgements come with the answers.
func asking(dst string, seconds ...float64) aggregate.Pair {
	p := in(aggregate.Pair{PairKey: key("default/web", dst, journey.Out), Packets: 300, Bytes: 300 * 200, TCP: &aggregate.TCP{}, Requests: &aggregate.Requests{}},
		journey.Forward, "eth0", 0.00003)
	p.Path = p.Stages[0].Delay
	peer := aggregate.PeerRTT{Node: "b"}
	for _, s := range seconds {
		p.Requests.Client.Answered.Observe(s, 1)
		peer.RTT.Observe(s, 1)
	}
	p.Requests.Client.Timed = uint64(len(seconds))
	p.TCP.RTT, p.TCP.Peers = peer.RTT, []aggregate.PeerRTT{peer}
	return p
}

// opening is a pair whose pods open so many connections to node b, each in so long, and others.
func opening(dst string, n uint64, seconds float64, others ...float64) aggregate.Pair {
	p := asking(dst, many(seconds)...)
	p.Requests, p.TCP = nil, &aggregate.TCP{}
	peer := aggregate.PeerRTT{Node: "b"}
	peer.HandshakeRTT.Observe(seconds, n)
	for _, s := range others {
		peer.HandshakeRTT.Observe(s, 1)
	}
	peer.RTT = peer.HandshakeRTT
	p.TCP.RTT, p.TCP.HandshakeRTT, p.TCP.Peers = peer.RTT, peer.HandshakeRTT, []aggregate.PeerRTT{peer}
	return p
}

// learntWindow is a window of such pairs, where handshakes with node b usually take 0.4 ms, and requests of web to api 2 ms.
func learntWindow(pairs ...aggregate.Pair) *window {
	w := windowOf(pairs...)
	w.to.PeerRTT = map[PeerKey]float64{{"b", true}: 0.0004}
	w.to.UsualRequests = map[aggregate.PairKey]float64{whoAsks(key("default/web", "default/api", "")): 0.002}
	return w
}

// TestSlowRequests tells of requests that have become slow beyond the node, and blames the network for none by themselves.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	jitter := func(from, to float64) (all []float64) {
		for i := range 100 {
			all = append(all, from+(to-from)*float64(i)/99)
		}
		return all
	}
	changed := func(change func(p *aggregate.Pair)) []aggregate.Pair {
		p := asking("default/api", many(0.010)...)
		change(&p)
		return []aggregate.Pair{p}
	}
	slow := asking("default/api", many(0.010)...)
	local := answering("default/web", "default/api", journey.Local, 10, 10, 0.010)
	for name, test := range map[string]struct {
		pairs []aggregate.Pair
		but   func(w *window)
		cause Cause // "": nothing is said
	}{
		"as usual":                   {pairs: []aggregate.Pair{asking("default/api", many(0.002)...)}},
		"8 ms more":                  {pairs: []aggregate.Pair{slow}, cause: RequestsSlow},
		"4 ms more":                  {pairs: []aggregate.Pair{asking("default/api", many(0.0063)...)}},
		"8 ms more than 6":           {pairs: []aggregate.Pair{asking("default/api", many(0.014)...)}, but: func(w *window) { setUsual(w, 0.006) }},
		"13 ms more than 6":          {pairs: []aggregate.Pair{asking("default/api", many(0.019)...)}, but: func(w *window) { setUsual(w, 0.006) }, cause: RequestsSlow},
		"of what is not known":       {pairs: []aggregate.Pair{asking("default/db", many(0.010)...)}},
		"handshakes are quick":       {pairs: []aggregate.Pair{slow, opening("default/db", 10, 0.0005)}, cause: ServerSlow},
		"few handshakes":             {pairs: []aggregate.Pair{slow, opening("default/db", 4, 0.0005)}, cause: RequestsSlow},
		"handshakes are half late":   {pairs: []aggregate.Pair{slow, opening("default/db", 10, 0.006)}, cause: RequestsSlow},
		"others are answered sooner": {pairs: []aggregate.Pair{slow, asking("default/db", many(0.0004)...)}, but: func(w *window) { w.to.PeerRTT[PeerKey{"b", false}] = 0.0004 }, cause: RequestsSlow},
		"one of two ways is slow":    {pairs: []aggregate.Pair{slow, opening("default/db", 28, 0.0084, 0.0004, 0.0004)}, cause: RequestsSlow},
		"a handshake of 30 is slow":  {pairs: []aggregate.Pair{slow, opening("default/db", 29, 0.0005, 0.0084)}, cause: ServerSlow},
		"as half of them usually do": {pairs: []aggregate.Pair{asking("default/api", many(0.012)...)}, but: func(w *window) { setUsual(w, 0.012) }},
		"ten quick, then slow ones":  {pairs: []aggregate.Pair{asking("default/api", slices.Concat(many(0.002)[:10], many(0.010), many(0.010))...)}},
		"jitter":                     {pairs: []aggregate.Pair{asking("default/api", jitter(0.0005, 0.020)...)}},
		"few":                        {pairs: []aggregate.Pair{asking("default/api", many(0.010)[:19]...)}},
		"large":                      {pairs: changed(func(p *aggregate.Pair) { p.Bytes = 40 * 40e3 })},
		"repeated":                   {pairs: changed(func(p *aggregate.Pair) { p.Requests.Client.Repeated = 20 })},
		"multiplexed":                {pairs: changed(func(p *aggregate.Pair) { p.Requests.Client.LeftOut = 1 })},
		"in a queue here":            {pairs: changed(func(p *aggregate.Pair) { p.Path = hist.Histogram{}; p.Path.Observe(0.008, 100) })},
		"some answered here":         {pairs: []aggregate.Pair{slow, local}},
		"to a node that is far": {pairs: changed(func(p *aggregate.Pair) { p.TCP.Peers[0].Node = "far" }),
			but: func(w *window) { w.to.PeerRTT[PeerKey{"far", true}] = 0.0095 }},
		"to a node not known":     {pairs: changed(func(p *aggregate.Pair) { p.TCP.Peers[0].Node = "new" })},
		"to nodes not told apart": {pairs: changed(func(p *aggregate.Pair) { p.TCP.Peers = nil })},
		"to the world":            {pairs: changed(func(p *aggregate.Pair) { p.DstNamespace, p.DstWorkload = "", aggregate.ExternalWorkload })},
		"without CPU": {pairs: []aggregate.Pair{slow}, but: func(w *window) {
			e := &snapshots{}
			withoutCPU(e)
			w.from.Stats, w.to.Stats = e.from.Stats, e.to.Stats
		}},
		"beside ways that are late by less": {pairs: []aggregate.Pair{slow}, but: func(w *window) {
			w.found = []Finding{{Kind: KindDelay, Cause: RemoteDelay, Severity: Critical, Delay: &Delay{P50: new(0.003)}, PairsTotal: 20}}
		}, cause: RequestsSlow},
		"beside ways that are late by half": {pairs: []aggregate.Pair{slow}, but: func(w *window) {
			w.found = []Finding{{Kind: KindDelay, Cause: RemoteDelay, Severity: Critical, Delay: &Delay{P50: new(0.005)}, PairsTotal: 20}}
		}},
		"beside a queue that holds half of it": {pairs: []aggregate.Pair{slow}, but: func(w *window) {
			w.found = []Finding{{Kind: KindDelay, Cause: QdiscDelay, Severity: Warning, Delay: &Delay{P50: new(0.004)}, Pairs: []Pair{{Src: "default/api", Dst: "default/web"}}, PairsTotal: 1}}
		}},
		"beside a queue that holds little": {pairs: []aggregate.Pair{slow}, but: func(w *window) {
			w.found = []Finding{{Kind: KindDelay, Cause: QdiscDelay, Severity: Warning, Delay: &Delay{P50: new(0.001)}, Pairs: []Pair{{Src: "default/api", Dst: "default/web"}}, PairsTotal: 1}}
		}, cause: RequestsSlow},
		"explained": {pairs: []aggregate.Pair{slow}, but: func(w *window) {
			w.found = []Finding{{Kind: KindDelay, Cause: QdiscDelay, Severity: Critical, Pairs: []Pair{{Src: "default/api", Dst: "default/web"}}, PairsTotal: 1}}
		}},
	} {
		w := learntWindow(test.pairs...)
		if test.but != nil {
			test.but(w)
		}
		found := slowRequestRules(w)
		if test.cause == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Cause != test.cause || found[0].Severity != Info || found[0].Stage != "" || len(found[0].Pairs) != 1 ||
			found[0].Pairs[0].Dst != "default/api" || found[0].Pairs[0].Requests == nil {
			t.Errorf("%s: %+v, want %s", name, found, test.cause)
			continue
		}
		f := &found[0]
		if r := f.Pairs[0].Requests; test.cause == RequestsSlow && *r.Usual == 0.002 && (!within(r.Least, 0.010, 0.06) || r.PerSecond == 0) {
			t.Errorf("%s: %+v", name, r)
		}
		if asksBoth := slices.ContainsFunc(f.Next, func(c string) bool { return strings.HasPrefix(c, "kubectl tracer diagnose") }); asksBoth != (test.cause == RequestsSlow) {
			t.Errorf("%s: %q", name, f.Next)
		}
	}
}

func setUsual(w *window, seconds float64) {
	for key := range w.to.UsualRequests {
		w.to.UsualRequests[key] = seconds
	}
}

// TestSlowRequestsBesideHandshakes names a pair that opens no connections with one whose handshakes to the same node are slow.
func TestSlowRequestsBesideHandshakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seconds float64
		named   bool
	}{"slow": {0.010, true}, "as usual": {0.002, false}} {
		e, opens := handshaking(t, 0.009, 0.001)
		kept := asking("default/db", many(test.seconds)...)
		e.to.Counts.Pairs = append(e.to.Counts.Pairs, kept)
		e.to.UsualRequests = map[aggregate.PairKey]float64{whoAsks(kept.PairKey): 0.002}
		r := e.diagnose()
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Cause == RemoteDelay })
		if i < 0 || slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Cause == RequestsSlow || f.Cause == ServerSlow }) {
			t.Fatalf("%s: %+v", name, r.Findings)
		}
		f := &r.Findings[i]
		if f.Severity != Warning || f.Pairs[0].Dst != qualified(opens.DstNamespace, opens.DstWorkload) {
			t.Errorf("%s: %s of %+v", name, f.Severity, f.Pairs)
		}
		isDB := func(p Pair) bool { return p.Dst == "default/db" }
		told := slices.ContainsFunc(f.Evidence, func(e string) bool {
			return strings.Contains(e, "default/web → default/db") && strings.Contains(e, "where 2 ms are usual")
		})
		if slices.ContainsFunc(f.Pairs, isDB) != test.named || told != test.named {
			t.Errorf("%s: %+v, %q", name, f.Pairs, f.Evidence)
		}
	}
}

// TestSlowRequestsFarther counts the usual round trip to where the pods that answer are now as usual.
func TestSlowRequestsFarther(t *testing.T) {
	t.Parallel()
	w := learntWindow(asking("default/api", many(0.040)...))
	w.to.PeerRTT[PeerKey{"b", true}] = 0.008
	found := slowRequestRules(w)
	if len(found) != 1 {
		t.Fatalf("%+v", found)
	}
	r := found[0].Pairs[0].Requests
	if *r.Usual != 0.008 || math.Abs(r.Extra()-(r.Least-r.Here-0.008)) > 1e-9 || !strings.Contains(found[0].Evidence[0], "where 8 ms are usual") {
		t.Errorf("%+v, usual %v: %q", r, *r.Usual, found[0].Evidence)
	}
}

// TestSlowServerBesideHandshakes gives requests that are late by much more than handshakes are to the server, and not to the network, whether
// their pair opens connections or others do.
func TestSlowServerBesideHandshakes(t *testing.T) {
	t.Parallel()
	e, opens := handshaking(t, 0.009, 0.001)
	opens.Requests.Client.Answered.Observe(0.05, 40)
	opens.Requests.Client.Timed = 40
	kept := asking("default/db", many(0.050)...)
	e.to.UsualRequests = map[aggregate.PairKey]float64{whoAsks(kept.PairKey): 0.002, whoAsks(opens.PairKey): 0.002}
	who := qualified(opens.DstNamespace, opens.DstWorkload)
	e.to.Counts.Pairs = append(e.to.Counts.Pairs, kept)
	var servers, ways []string
	for _, f := range e.diagnose().Findings {
		for _, p := range f.Pairs {
			switch f.Cause {
			case ServerSlow:
				servers = append(servers, p.Dst)
			case RemoteDelay:
				ways = append(ways, p.Dst)
			}
		}
	}
	slices.Sort(servers)
	if want := []string{who, "default/db"}; !slices.Equal(servers, slices.Sorted(slices.Values(want))) || !slices.Equal(ways, []string{who}) {
		t.Errorf("slow servers %q, slow ways to %q; want %q, and to %q", servers, ways, want, who)
	}
}

// TestServed tells of requests that pods of this node have answered.
func TestServed(t *testing.T) {
	t.Parallel()
	pairs := []aggregate.Pair{answering("_external", "default/api", journey.In, 0, 60, 0.002), answering("default/web", "default/api", journey.In, 0, 600, 0.004),
		answering("default/cron", "default/api", journey.In, 0, 5, 0.1), answering("default/api", "default/db", journey.Out, 60, 0, 0.001)}
	pairs[1].Ends = &aggregate.Ends{Source: netip.MustParseAddrPort("10.1.0.1:41000"), Destination: netip.MustParseAddrPort("10.2.0.1:80")}
	w := windowOf(pairs...)
	served := w.served()
	if len(served) != 2 || served[0].Src != "default/web" || served[1].Src != "_external" {
		t.Fatalf("%+v", served)
	}
	p := &served[0]
	if p.Addresses == nil || p.Addresses.Dst.String() != "10.2.0.1" || !within(p.Requests.P50, 0.004, 0.06) || !within(p.Requests.Least, 0.004, 0.06) ||
		p.Requests.PerSecond <= 0 || p.Requests.Usual != nil {
		t.Errorf("%+v, %+v", p.Addresses, p.Requests)
	}
	if p.Requests.Timed != 600 {
		t.Errorf("timed %d", p.Requests.Timed)
	}
	held := in(pairs[1], journey.Queue, netdev.PodLabel, 0.001)
	if served := windowOf(pairs[0], held).served(); len(served) != 1 || served[0].Src != "_external" {
		t.Errorf("packets wait in front of the pod: %+v", served)
	}
	e := &snapshots{}
	withoutCPU(e)
	w.from.Stats, w.to.Stats = e.from.Stats, e.to.Stats
	if served := w.served(); len(served) > 0 {
		t.Errorf("without CPU: %+v", served)
	}
}

// TestLearnRequests learns how long the requests of a pair take.
func TestLearnRequests(t *testing.T) {
	t.Parallel()
	var b Baseline
	now := time.Unix(0, 0)
	api := whoAsks(key("default/web", "default/api", ""))
	minute := func(p50 float64, n int) {
		now = now.Add(time.Minute)
		p := asking("default/api", slices.Concat(slices.Repeat([]float64{p50}, 3*n/4), slices.Repeat([]float64{10 * p50}, n-3*n/4))...)
		world := asking("default/api", many(0.001)...)
		world.DstNamespace, world.DstWorkload = "", aggregate.ExternalWorkload
		b.LearnRequests([]aggregate.Pair{p, world}, now)
	}
	is := func(want float64) bool { return math.Abs(b.UsualRequests()[api]-want) < 0.06*want }
	minute(0.002, minMeasured-1)
	for range knownAfter - 1 {
		minute(0.002, 40)
	}
	if len(b.UsualRequests()) != 0 {
		t.Errorf("known after %d minutes: %v", knownAfter-1, b.UsualRequests())
	}
	minute(0.002, 40)
	if !is(0.002) || len(b.UsualRequests()) != 1 {
		t.Errorf("after %d minutes: %v", knownAfter, b.UsualRequests())
	}
	for range 3 * firstMinutes { // slow, soon after the start
		minute(0.010, 40)
	}
	if !is(0.002) {
		t.Errorf("after slow minutes: %v", b.UsualRequests())
	}
	for range 2 * firstMinutes {
		minute(0.002, 40)
	}
	for range 60 { // an hour of it, later
		minute(0.010, 40)
	}
	if got := b.UsualRequests()[api]; got < 0.0018 || got > 0.0023 {
		t.Errorf("after a slow hour: %v", got)
	}
	var again Baseline
	again.RestoreRequests(b.Requests(), now)
	if again.UsualRequests()[api] != b.UsualRequests()[api] {
		t.Errorf("restored %v, want %v", again.UsualRequests(), b.UsualRequests())
	}
	if again.RestoreRequests(b.Requests(), now.Add(forgetAfter+time.Hour)); len(again.UsualRequests()) != 0 {
		t.Errorf("restored a week later: %v", again.UsualRequests())
	}
	minute(0.002, 40)
	for range slowForGood - 1 { // by little more than counts
		minute(0.0076, 40)
	}
	if got := b.UsualRequests()[api]; got > 0.0023 {
		t.Errorf("nearly half a day of 7.6 ms: %v", got)
	}
	minute(0.002, 40)
	for range slowForGood - 1 { // not in a row
		minute(0.100, 40)
	}
	if got := b.UsualRequests()[api]; got > 0.0023 {
		t.Errorf("after less than half a day: %v", got)
	}
	minute(0.002, 40)
	minute(0.100, 40)
	if got := b.UsualRequests()[api]; got > 0.0023 {
		t.Errorf("after a break: %v", got)
	}
	for range slowForGood + knownAfter {
		minute(0.100, 40)
	}
	if !is(0.100) {
		t.Errorf("after half a day: %v", b.UsualRequests())
	}
	minute(0.002, 4)
	b.LearnRequests(nil, now.Add(forgetAfter+time.Hour))
	if len(b.Requests()) != 0 {
		t.Errorf("a week later: %v", b.Requests())
	}

	// What was known of a few minutes alone gives way sooner, in the same way after a restart meanwhile.
	for range 6 {
		minute(0.0005, 40)
	}
	for range slowAgainstFew - 2 {
		minute(0.012, 40)
	}
	if !is(0.0005) {
		t.Errorf("known of few minutes: %v", b.UsualRequests())
	}
	again.RestoreRequests(b.Requests(), now)
	b = again
	for range 2 + knownAfter {
		minute(0.012, 40)
	}
	if !is(0.012) {
		t.Errorf("known of few minutes, after an hour: %v", b.UsualRequests())
	}
}
