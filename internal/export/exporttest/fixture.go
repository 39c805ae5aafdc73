// Package exporttest is what tests of the packages beside it have in common: what a node has to show, and how a server is
// started and asked.
package exporttest

import (
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// Noon is the time at which all of it was taken.
var Noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// comcast is the tree that the fault tool of that name sets.
func comcast() netdev.Qdisc {
	return netdev.Qdisc{Kind: "htb", Handle: "10:", Drops: 30, Overlimits: 40, BacklogBytes: 5000, Children: []netdev.Qdisc{
		{Kind: "htb", Class: true, Handle: "10:1", Drops: 1, Overlimits: 2},
		{Kind: "htb", Class: true, Handle: "10:10", Drops: 29, Overlimits: 38, BacklogBytes: 5000, Children: []netdev.Qdisc{
			{Kind: "netem", Handle: "100:", Drops: 29, Overlimits: 38, BacklogBytes: 5000},
		}},
	}}
}

// FIFOs is an mq as the kernel makes it.
func FIFOs() netdev.Qdisc {
	leaf := func(drops uint64) netdev.Qdisc {
		return netdev.Qdisc{Kind: "pfifo_fast", Handle: "0:", Drops: drops, BacklogBytes: 100}
	}
	class := func(drops uint64) netdev.Qdisc {
		return netdev.Qdisc{Kind: "mq", Class: true, Drops: drops, Children: []netdev.Qdisc{leaf(drops)}}
	}
	return netdev.Qdisc{Kind: "mq", Handle: "0:", Drops: 7, Children: []netdev.Qdisc{class(3), class(4)}}
}

// Devices are pods, an overlay and an uplink.
func Devices() []netdev.Device {
	none := netdev.Qdisc{Kind: "noqueue", Handle: "0:"}
	tbf := func(drops, backlog uint64) netdev.Qdisc {
		return netdev.Qdisc{Kind: "tbf", Handle: "1:", Drops: drops, Overlimits: 10 * drops, BacklogBytes: backlog}
	}
	return []netdev.Device{
		{Index: 4, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: tbf(2, 10)},
		{Index: 5, Name: "cali2", Role: netdev.RolePod, Leaves: true, Up: true, Root: tbf(3, 20)},
		{Index: 6, Name: "cali3", Role: netdev.RolePod, Leaves: true, Up: true, Root: none},
		{Index: 7, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: comcast()},
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: FIFOs()},
	}
}

// Delays are a histogram of these times, in milliseconds.
func Delays(millis ...float64) (h hist.Histogram) {
	for _, ms := range millis {
		h.Observe(ms/1000, 1)
	}
	return h
}

// StageKey is a stage of packets that leave.
func StageKey(stage journey.Stage, device string) aggregate.StageKey {
	return aggregate.StageKey{Stage: stage, Device: device, Direction: journey.Out}
}

// Snapshot is of a fault: the overlay holds and drops what web sends to api.
func Snapshot() *aggregate.Snapshot {
	stages := []aggregate.StageDelay{
		{StageKey: StageKey(journey.Forward, "tunl0"), Delay: Delays(0.02, 0.02, 0.03, 0)},
		{StageKey: StageKey(journey.Queue, "tunl0"), Delay: Delays(501, 502, 530)},
		{StageKey: StageKey(journey.Queue, "eth0"), Untimed: 3}, // nothing measured: no series
	}
	drop := func(reason, location string, loss bool, n uint64) aggregate.DropCount {
		return aggregate.DropCount{
			DropKey: aggregate.DropKey{StageKey: StageKey(journey.Queue, "tunl0"), Reason: reason, Location: location, Loss: loss},
			Packets: n, Segments: 2 * n,
		}
	}
	lost := []aggregate.DropCount{
		drop("QDISC_DROP", "__dev_queue_xmit", true, 12),
		drop("QDISC_DROP", "netem_enqueue", true, 3),
		drop("SKB_CONSUMED", "x", false, 100),
		{DropKey: aggregate.DropKey{StageKey: aggregate.StageKey{Stage: journey.Unknown}, Reason: "NO_ROUTE", Loss: true}, Packets: 1},
	}
	return &aggregate.Snapshot{
		Taken: Noon, Window: time.Hour, Stages: stages, Drops: lost, PairOverflow: 3, FlowOverflow: 7,
		Pairs: []aggregate.Pair{
			{
				PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api", Direction: journey.Out},
				Packets: 4.5, Bytes: 6000, Path: Delays(502, 503, 531), Stages: stages, Drops: lost[:3],
				TCP:      &aggregate.TCP{RTT: Delays(503, 504), Segments: 40, Retransmits: 3},
				Requests: &aggregate.Requests{Client: aggregate.RequestSide{Answered: Delays(503, 520), Connects: Delays(502), Unanswered: 2}},
			},
			{ // the same two on this node alone
				PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api", Direction: journey.Local},
				Packets: 2, Bytes: 200, Path: Delays(0.1, 0.1),
			},
			{
				PairKey: aggregate.PairKey{SrcWorkload: "_other", DstWorkload: "_other", Direction: journey.Out},
				Packets: 7, Bytes: 700, Path: Delays(1),
			},
		},
		InFlight: []aggregate.InFlight{
			{StageKey: StageKey(journey.Queue, "tunl0"), Packets: 37, Oldest: 19.5},
			{StageKey: StageKey(journey.Encap, "tunl0"), Packets: 1, Oldest: 0.01},
		},
	}
}

// Report is the diagnosis of that.
func Report() diagnose.Report {
	p50, half, all := 0.501, 0.5, 1.0
	return diagnose.Report{
		SchemaVersion: diagnose.SchemaVersion, Node: "node-1", Started: Noon, WindowSeconds: 15, Verdict: diagnose.Fault,
		Summary: "tunl0 holds packets",
		Findings: []diagnose.Finding{{
			Kind: diagnose.KindDelay, Cause: diagnose.QdiscDelay, Severity: diagnose.Critical, Stage: journey.Queue,
			Device: "tunl0", Direction: journey.Out, Confidence: 0.9, Delay: &diagnose.Delay{P50: &p50},
			Pairs: []diagnose.Pair{{Src: "default/web", Dst: "default/api"}}, PairsTotal: 1,
		}},
		Coverage: []diagnose.Coverage{
			{Device: "pod", Direction: journey.In, Ratio: &half, Reason: "redirected", Seen: 50, DevicePackets: 100},
			{Device: "eth0", Direction: journey.Out, Ratio: &all, Seen: 100, DevicePackets: 100},
			{Device: "tunl0", Direction: journey.Out, Seen: 2, DevicePackets: 2},
		},
	}
}
