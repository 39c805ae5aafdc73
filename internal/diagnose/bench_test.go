package diagnose

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/test/steady"
)

// busy is the window of a node with 10,000 flows, each of a pair of its own as far as pairs are kept apart, of which a
// tenth lose packets in five ways, some to netfilter's rules, with a slow queue besides. All are of TCP, whose other direction came
// in, and requests of another tenth have become slow. As many conversations as are told of have no answer, each tc hook says how much it saw, and every
// stage has a baseline.
func busy() *snapshots {
	const flows = 10000
	s := &aggregate.Snapshot{Window: 15 * time.Second, Records: 1e6}
	places := []aggregate.StageKey{
		{Stage: journey.Forward, Device: "tunl0", Direction: journey.Out}, {Stage: journey.Queue, Device: "tunl0", Direction: journey.Out},
		{Stage: journey.Encap, Device: "tunl0", Direction: journey.Out}, {Stage: journey.Queue, Device: "eth0", Direction: journey.Out},
	}
	reasons := []aggregate.DropKey{
		{StageKey: places[1], Reason: "QDISC_DROP", Loss: true}, {StageKey: places[0], Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Loss: true},
		{StageKey: places[0], Reason: "IP_INNOROUTES", Loss: true}, {StageKey: places[0], Reason: "PKT_TOO_BIG", Loss: true},
		{StageKey: places[2], Reason: "NOMEM", Loss: true},
	}
	all := make([]aggregate.StageDelay, len(places))
	drops := make([]aggregate.DropCount, len(reasons))
	tcp := &aggregate.TCP{Segments: 100, Delivered: 100, Peers: []aggregate.PeerRTT{{Node: "node2"}}}
	tcp.RTT.Observe(1e-3, 100)
	tcp.Peers[0].RTT = tcp.RTT
	tcp.Peers[0].HandshakeRTT.Observe(1e-3, 10)
	requests := &aggregate.Requests{Client: aggregate.RequestSide{Timed: 100}}
	requests.Client.Answered.Observe(5, 100)
	usual := map[aggregate.PairKey]float64{}
	for i := range flows {
		s.Flows = append(s.Flows, aggregate.Flow{Packets: 100})
		if i >= aggregate.DefaultMaxPairs {
			continue
		}
		p := aggregate.Pair{PairKey: aggregate.PairKey{
			SrcNamespace: "default", SrcWorkload: fmt.Sprintf("web-%d", i), DstNamespace: "default", DstWorkload: "api", Direction: journey.Out,
		}, Packets: 100, TCP: tcp, Requests: requests}
		if usual[whoAsks(p.PairKey)] = 5; i%10 == 1 {
			usual[whoAsks(p.PairKey)] = 1e-3
		}
		for j, at := range places {
			st := aggregate.StageDelay{StageKey: at}
			for k := range 30 {
				st.Delay.Observe(1e-5*float64(1+k+i%7)*float64(1+999*(j%2)), 3)
			}
			all[j].StageKey = at
			all[j].Delay.Merge(&st.Delay)
			p.Stages = append(p.Stages, st)
			p.Path.Merge(&st.Delay)
		}
		if i%10 == 0 {
			for j, key := range reasons {
				drops[j].DropKey = key
				drops[j].Packets += 5
				p.Drops = append(p.Drops, aggregate.DropCount{DropKey: key, Packets: 5})
			}
		}
		s.Pairs = append(s.Pairs, p)
	}
	s.Stages, s.Drops = all, drops
	rules := Ruleset{From: noon, Until: noon.Add(s.Window)}
	for i := range 64 {
		f := lostFlow(fmt.Sprintf("10.2.0.3:%d", 80+i), 5)
		f.Device, f.Source.Workload = "tunl0", fmt.Sprintf("web-%d", 10*i)
		rules.Lost = append(rules.Lost, f)
		rules.Rules = append(rules.Rules, counting(uint64(i+1), 5, port(uint16(80+i))))
	}
	for i := range 256 { // as many as a snapshot has
		s.Unanswered = append(s.Unanswered, aggregate.Unanswered{
			PairKey: s.Pairs[i].PairKey, Source: netip.MustParseAddrPort("10.1.0.1:0"), Protocol: record.ProtocolTCP, Client: true,
			Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i / 250), byte(i % 250)}), 80),
			Tries:       9, Seconds: 6, Packets: 9, Connections: 2, Retransmits: 7, First: 12, Last: 2, Answers: 5, Ifindex: 10 + i%100,
		})
	}
	pairs := make([]aggregate.InFlightPair, 64)
	for i := range pairs {
		pairs[i] = aggregate.InFlightPair{PairKey: s.Pairs[i].PairKey, Packets: 3, Oldest: 0.1}
	}
	s.InFlight = []aggregate.InFlight{{StageKey: places[1], Packets: 500, Oldest: 0.2, Pairs: pairs}}
	from := Snapshot{Taken: noon}
	to := Snapshot{Taken: noon.Add(s.Window), Counts: s, Rulesets: []Ruleset{rules}, Baseline: map[aggregate.StageKey]float64{}, UsualRequests: usual, PeerRTT: map[PeerKey]float64{{"node2", true}: 1e-3}, Devices: []netdev.Device{
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true, Root: netdev.Qdisc{Kind: "fq_codel"}},
		{Index: 3, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem"}},
	}}
	for i := range 100 {
		to.Devices = append(to.Devices, netdev.Device{
			Index: 10 + i, Name: fmt.Sprintf("cali%d", i), Kind: "veth", Role: netdev.RolePod, Up: true, Root: netdev.Qdisc{Kind: "noqueue"},
			Traffic: netdev.Traffic{RxPackets: 1e4, TxPackets: 1e4},
		})
	}
	from.Devices = to.Devices
	for _, at := range places {
		to.Baseline[at] = 1e-4
	}
	for device, role := range map[string]netdev.Role{"pod": netdev.RolePod, "tunl0": netdev.RoleOverlay, "eth0": netdev.RoleUplink} {
		for _, hook := range []record.Hook{record.Ingress, record.Egress} {
			seen := record.Coverage{Packets: 1e6, Segments: 1e6, Begun: 1e6, Ended: 1e6}
			to.Coverage = append(to.Coverage, HookCoverage{Device: device, Role: role, Hook: hook, Before: seen, After: seen, Packets: 1e6, Bytes: 1e9})
		}
	}
	return &snapshots{from: from, to: to}
}

// waiting is the same node where requests of all pairs are slow, which are of pods that answer here too, and nothing is wrong at its own devices.
func waiting() *snapshots {
	e := busy()
	c := e.to.Counts
	c.Stages, c.Drops, c.InFlight, c.Unanswered, e.to.Rulesets = nil, nil, nil, nil, nil
	for i := range c.Pairs {
		p := &c.Pairs[i]
		p.Stages, p.Drops, p.Requests = nil, nil, &aggregate.Requests{Client: p.Requests.Client}
		p.Requests.Server.Timed = 100
		p.Requests.Server.Answered.Observe(0.005, uint64(100+i))
		e.to.UsualRequests[whoAsks(p.PairKey)] = 1e-3
	}
	return e
}

func BenchmarkDiagnose(b *testing.B) {
	e := busy()
	if r := e.diagnose(); len(r.Findings) < 7 || len(r.Coverage) < 6 {
		b.Fatalf("findings %+v, coverage %+v", r.Findings, r.Coverage)
	}
	b.ReportAllocs()
	for b.Loop() {
		e.diagnose()
	}
}

// TestCost bounds what a verdict costs, in passes over all that was counted: each rule looks at pairs and stages a few times, and
// never at pairs for each pair. Both are measured beside each other by this thread's CPU time, so that it does not matter how busy
// or how fast the machine is.
func TestCost(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const most = 10
	e, asking := busy(), waiting()
	isSlow := func(f Finding) bool { return f.Cause == ServerSlow && f.PairsTotal == aggregate.DefaultMaxPairs }
	if r := asking.diagnose(); !slices.ContainsFunc(r.Findings, isSlow) {
		t.Fatalf("%+v", r.Findings)
	}
	pass := func() (sum float64) {
		byKey := make(map[aggregate.PairKey]int, len(e.to.Counts.Pairs))
		for i := range e.to.Counts.Pairs {
			p := &e.to.Counts.Pairs[i]
			byKey[p.PairKey] = i
			for j := range p.Stages {
				sum += p.Stages[j].Delay.Quantile(0.5)
			}
		}
		return sum + float64(len(byKey))
	}
	used := func() time.Duration { return steady.ThreadCPU(t) }
	onePass, verdict, ofRequests := time.Hour, time.Hour, time.Hour
	for range 20 {
		began := used()
		pass()
		between := used()
		e.diagnose()
		onePass, verdict = min(onePass, between-began), min(verdict, used()-between)
		between = used()
		asking.diagnose()
		ofRequests = min(ofRequests, used()-between)
	}
	verdict = max(verdict, ofRequests)
	ratio := float64(verdict) / float64(onePass)
	t.Logf("a verdict takes %v (%v of slow requests alone), as much as %.1f passes", verdict, ofRequests, ratio)
	if ratio > most {
		t.Errorf("a verdict costs as much as %.0f passes over what was counted, want %d at most", ratio, most)
	}
}
