package diagnose

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// busy is the window of a node with 10,000 flows, each of a pair of its own as far as pairs are kept apart, of which a
// tenth lose packets in five ways, some to netfilter's rules, with a slow queue besides. All are of TCP, whose other direction came in.
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
	tcp := &aggregate.TCP{Segments: 100, Delivered: 100}
	tcp.RTT.Observe(1e-3, 100)
	for i := range flows {
		s.Flows = append(s.Flows, aggregate.Flow{Packets: 100})
		if i >= aggregate.DefaultMaxPairs {
			continue
		}
		p := aggregate.Pair{PairKey: aggregate.PairKey{
			SrcNamespace: "default", SrcWorkload: fmt.Sprintf("web-%d", i), DstNamespace: "default", DstWorkload: "api", Direction: journey.Out,
		}, Packets: 100, TCP: tcp}
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
	return &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(s.Window), Counts: s, Rulesets: []Ruleset{rules}, Devices: []netdev.Device{
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true, Root: netdev.Qdisc{Kind: "fq_codel"}},
		{Index: 3, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem"}},
	}}}
}

func BenchmarkDiagnose(b *testing.B) {
	e := busy()
	if r := e.diagnose(); len(r.Findings) < 6 {
		b.Fatalf("findings %+v", r.Findings)
	}
	b.ReportAllocs()
	for b.Loop() {
		e.diagnose()
	}
}
