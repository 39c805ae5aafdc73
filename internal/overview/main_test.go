package overview

import (
	"encoding/json"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/golden"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/internal/trace"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// delays is a histogram of n delays around one, in seconds.
func delays(n int, seconds float64) (h hist.Histogram) {
	for i := range n {
		h.Observe(seconds*(1+float64(i%10)/50), 1)
	}
	return h
}

func key(stage journey.Stage, device string, direction journey.Direction) aggregate.StageKey {
	return aggregate.StageKey{Stage: stage, Device: device, Direction: direction}
}

func pairKey(srcNS, src, dstNS, dst string, direction journey.Direction) aggregate.PairKey {
	return aggregate.PairKey{SrcNamespace: srcNS, SrcWorkload: src, DstNamespace: dstNS, DstWorkload: dst, Direction: direction}
}

// pair is one whose n packets of 500 bytes met some stages.
func pair(k aggregate.PairKey, service string, n int, stages ...aggregate.StageDelay) aggregate.Pair {
	p := aggregate.Pair{PairKey: k, Service: service, Packets: float64(n), Bytes: 500 * float64(n), Stages: stages}
	var total float64
	for _, s := range stages {
		total += s.Delay.Mean()
	}
	p.Path = delays(n, total/1.09)
	return p
}

func stage(k aggregate.StageKey, n int, seconds float64) aggregate.StageDelay {
	return aggregate.StageDelay{StageKey: k, Delay: delays(n, seconds)}
}

var webToAPI = pairKey("default", "web", "default", "api", journey.Out)

// story is ten seconds on a node whose overlay has a slow, small queue.
func story() Input {
	comcast := func(packets, drops, backlog uint64) netdev.Qdisc {
		netem := netdev.Qdisc{
			Kind: "netem", Handle: "100:", Delay: 500 * time.Millisecond, Loss: 0.1, RateBits: 50_000, Limit: 1000, LimitUnit: "packets",
			Packets: packets, Drops: drops, BacklogPackets: backlog, BacklogBytes: 540 * backlog,
		}
		return netdev.Qdisc{
			Kind: "htb", Handle: "10:", Default: 1, Packets: packets, Drops: drops, BacklogPackets: backlog, BacklogBytes: 540 * backlog,
			Children: []netdev.Qdisc{
				{Kind: "htb", Class: true, Handle: "10:1", RateBits: 100_000_000, CeilBits: 100_000_000},
				{Kind: "htb", Class: true, Handle: "10:10", RateBits: 100_000_000, CeilBits: 100_000_000, Packets: packets, Children: []netdev.Qdisc{netem}},
			},
		}
	}
	devices := func(n uint64) []netdev.Device {
		noqueue := netdev.Qdisc{Kind: "noqueue"}
		return []netdev.Device{
			{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true, MTU: 1500, Leaves: true, Ethernet: true,
				Traffic: netdev.Traffic{RxPackets: 900 * n, TxPackets: 1000 * n, RxBytes: 450_000 * n, TxBytes: 600_000 * n},
				Root: netdev.Qdisc{Kind: "fq_codel", Handle: "0:", Target: 5 * time.Millisecond, Interval: 100 * time.Millisecond,
					Limit: 10240, LimitUnit: "packets", Flows: 1024, Packets: 1000 * n}},
			{Index: 4, Name: "cali61ecb05b126", Kind: "veth", Role: netdev.RolePod, Up: true, Leaves: true, Ethernet: true, Root: noqueue,
				Traffic: netdev.Traffic{RxPackets: 640 * n, TxPackets: 600 * n, RxBytes: 320_000 * n, TxBytes: 300_000 * n}},
			{Index: 5, Name: "calic821d1e85ce", Kind: "veth", Role: netdev.RolePod, Up: true, Leaves: true, Ethernet: true, Root: noqueue},
			{Index: 7, Name: "tunl0", Kind: "ipip", Role: netdev.RoleOverlay, Up: true, MTU: 1480, Root: comcast(500*n, 50*n, 37),
				Traffic: netdev.Traffic{RxPackets: 600 * n, TxPackets: 600 * n, RxBytes: 300_000 * n, TxBytes: 250_000 * n},
				Changed: noon.Add(-20 * time.Second)},
		}
	}
	forward, queue, encap := key(journey.Forward, "tunl0", journey.Out), key(journey.Queue, "tunl0", journey.Out), key(journey.Encap, "tunl0", journey.Out)
	wire, decap, toPod := key(journey.Queue, "eth0", journey.Out), key(journey.Decap, "tunl0", journey.In), key(journey.Forward, "pod", journey.In)
	slow := pair(webToAPI, "default/api", 500, stage(wire, 500, 4e-6), stage(queue, 500, 0.46), stage(forward, 540, 22e-6), stage(encap, 500, 9e-6))
	slow.TCP = &aggregate.TCP{RTT: delays(100, 0.47), Segments: 240, Retransmits: 30, Spurious: 4}
	slow.Requests = &aggregate.Requests{Client: aggregate.RequestSide{Answered: delays(120, 0.49), Connects: delays(12, 0.47), Unanswered: 2}}
	slow.Drops = []aggregate.DropCount{
		{DropKey: aggregate.DropKey{StageKey: queue, Reason: "QDISC_DROP", Location: "__dev_queue_xmit", Loss: true}, Packets: 50, Segments: 50},
		{DropKey: aggregate.DropKey{StageKey: forward, Reason: "SKB_CONSUMED", Location: "x"}, Packets: 7, Segments: 7},
	}
	onWire := key(journey.Forward, "eth0", journey.Out)
	local := key(journey.Forward, "pod", journey.Local)
	window := &aggregate.Snapshot{
		Taken: noon, Window: 10 * time.Second, Records: 2500, MissedRecords: 5,
		Stages: []aggregate.StageDelay{
			stage(queue, 500, 0.46), stage(forward, 540, 22e-6), stage(encap, 500, 9e-6), stage(wire, 1000, 4e-6),
			stage(decap, 600, 11e-6), stage(toPod, 600, 7e-6), stage(onWire, 500, 15e-6), stage(local, 90, 12e-6),
		},
		Drops: slow.Drops,
		Pairs: []aggregate.Pair{
			pair(pairKey("default", "api", "default", "web", journey.In), "", 600, stage(toPod, 600, 7e-6), stage(decap, 600, 11e-6)),
			slow,
			pair(pairKey("batch", "nightly-report", "", "_external", journey.Out), "", 500, stage(onWire, 500, 15e-6), stage(wire, 500, 4e-6)),
			pair(pairKey("shop", "checkout", "shop", "cart", journey.Local), "shop/cart", 60, stage(local, 60, 12e-6)),
			pair(pairKey("shop", "checkout", "kube-system", "coredns", journey.Local), "kube-system/kube-dns", 30, stage(local, 30, 12e-6)),
		},
		InFlight: []aggregate.InFlight{
			{StageKey: queue, Packets: 37, Oldest: 0.48, Ages: delays(37, 0.4), Pairs: []aggregate.InFlightPair{
				{PairKey: webToAPI, Packets: 35, Oldest: 0.48},
				{PairKey: pairKey("kube-system", "metrics", "default", "api", journey.Out), Packets: 2, Oldest: 0.3}, // none came out
			}},
		},
		Flows: []aggregate.Flow{
			{
				First: flow("10.244.1.2:49818", "10.96.0.10:80"), Last: flow("10.244.1.2:49818", "10.244.2.3:8080"), Direction: journey.Out,
				Src: aggregate.Identity{Namespace: "default", Pod: "web-7d9c6b5f4-x2x7k", Workload: "web"},
				Dst: aggregate.Identity{Namespace: "default", Pod: "api-0", Workload: "api"}, Packets: 500, Bytes: 250_000,
				Path: delays(500, 0.46), Drops: 50, DropReason: "QDISC_DROP", TCP: aggregate.FlowTCP{RTTs: 100, RTTSeconds: 47, Retransmits: 30}, Stages: []aggregate.StageTime{
					{StageKey: forward, Count: 540, Seconds: 540 * 22e-6}, {StageKey: queue, Count: 500, Seconds: 250}, {StageKey: encap, Count: 500, Seconds: 0.005},
				},
			},
			{
				First: flow("10.244.1.9:5353", "[2001:db8::1]:443"), Last: flow("10.244.1.9:5353", "[2001:db8::1]:443"), Direction: journey.Out,
				Packets: 500, Bytes: 250_000, Path: delays(500, 20e-6), Stages: []aggregate.StageTime{{StageKey: onWire, Count: 500, Seconds: 0.01}},
			},
		},
	}
	in := Input{
		About: About{
			Version: "v1.2.3", Node: "node-1", Kernel: "6.12.111", Started: noon.Add(-time.Hour), HooksUp: 13,
			HooksMissing: []string{"egress calic821d1e85ce: no such device"}, SampleRatio: 1, RecordsMissed: 12,
		},
		Taken: noon, Window: window, Devices: devices(2), Before: devices(1),
		History: []Trend{
			{Place{journey.Queue, "tunl0"}, 5, []*float64{new(20e-6), nil, new(0.1), new(0.3), new(0.5), new(0.5)}},
			{Place{journey.Forward, "tunl0"}, 5, []*float64{new(20e-6), nil, new(21e-6), new(22e-6), new(21e-6), new(22e-6)}},
		},
		RequestHistory: NewRequestTrend(5, []*RequestPoint{
			{Requests: &Requests{PerSecond: 12, Client: &Delay{P50: 900e-6}, Here: 55e-6}, Stages: []StageTime{
				{Place{journey.Queue, "tunl0"}, 20e-6}, {Place{journey.Forward, "tunl0"}, 20e-6}, {Place{journey.Decap, "tunl0"}, 11e-6}}},
			{},
			{Requests: &Requests{}, UnansweredPerSecond: 0.4},
			{Requests: &Requests{PerSecond: 11, Client: &Delay{P50: 0.32}, Here: 0.3}, Stages: []StageTime{
				{Place{journey.Queue, "tunl0"}, 0.3}, {Place{journey.Forward, "tunl0"}, 22e-6}, {Place{journey.Decap, "tunl0"}, 11e-6}}},
			{Requests: &Requests{PerSecond: 12, Client: &Delay{P50: 0.534}, Here: 0.5}, UnansweredPerSecond: 0.2, Stages: []StageTime{
				{Place{journey.Queue, "tunl0"}, 0.46}, {Place{journey.Forward, "tunl0"}, 22e-6}}},
		}),
		Slowest: []trace.Trace{{
			Time: noon.Add(-time.Second), Kind: "finished", Direction: journey.Out, TotalSeconds: 0.531,
			First:  trace.Flow{Source: "10.244.1.2:49818", Destination: "10.96.0.10:80", Protocol: "udp"},
			Hooks:  []trace.Hook{},
			Stages: []trace.Stage{{Stage: journey.Forward, Device: "tunl0", Seconds: 22e-6}, {Stage: journey.Queue, Device: "tunl0", Seconds: 0.5309}},
		}},
	}
	in.Baseline = map[aggregate.StageKey]float64{{Stage: journey.Queue, Device: "tunl0", Direction: journey.Out}: 20e-6}
	seen := record.Coverage{Packets: 100, Segments: 100}
	in.Report = diagnose.Diagnose("node-1",
		diagnose.Snapshot{Taken: noon.Add(-10 * time.Second), Devices: in.Before}, diagnose.Snapshot{Taken: noon, Counts: window, Devices: in.Devices,
			Coverage: []diagnose.HookCoverage{{Device: "pod", Role: netdev.RolePod, Hook: record.Egress, Before: seen, After: seen, Packets: 140, Bytes: 560_000}}})
	return in
}

// checkJSON compares v's JSON with a file in testdata.
func checkJSON(t testing.TB, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/"+name, append(got, '\n'))
}
