package diagnose

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// TestMissingAtPods: where the hook of one pod's device is missing, what counts is how much of all pods' traffic passes there.
func TestMissingAtPods(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		limited     uint64 // packets to the pod whose device lacks the hook
		others      uint64
		ended       uint64 // of what came in for pods
		queue       string // at the device whose hook is missing: the qdisc, and behind a space how many packets it held
		rows        int
		blind       bool
		ratio, wide float64
	}{
		{"one of many", 100, 9900, 0, "", 1, false, 0.99, 0.001},
		{"most of the traffic", 900, 100, 0, "", 1, true, 0.1, 0.001},
		{"next to nothing", 3, 9900, 0, "", 0, false, 0, 0},
		{"no counts", 0, 0, 0, "", 1, true, 0, 0},
		{"seen at the pod's socket", 900, 100, 1000, "", 0, false, 0, 0},
		{"some of it", 900, 100, 600, "", 1, false, 0.6, 0.001},
		{"seen at the pod's socket, held for a rate", 900, 100, 1000, "tbf 90", 1, true, 0.1, 0.001},
		{"seen at the pod's socket, held for a rate now and then", 900, 100, 1000, "tbf 3", 1, false, 0.97, 0.001},
		{"seen at the pod's socket, below its rate", 900, 100, 1000, "tbf 0", 0, false, 0, 0},
		{"seen at the pod's socket, delayed perhaps", 900, 100, 1000, "netem 0", 1, true, 0.1, 0.001},
		{"what ended is others'", 900, 100, 100, "", 1, true, 0.1, 0.001},
	} {
		device := func(index int, name string, packets uint64) netdev.Device {
			return netdev.Device{Index: index, Name: name, Kind: "veth", Role: netdev.RolePod, Up: true, Traffic: netdev.Traffic{TxPackets: packets}}
		}
		limited := device(1, "cali1", test.limited)
		if kind, held, queues := strings.Cut(test.queue, " "); queues {
			overlimits, _ := strconv.ParseUint(held, 10, 64)
			limited.EgressUnseen, limited.Root = true, netdev.Qdisc{Kind: kind, Packets: test.limited, Overlimits: overlimits}
		}
		missing := []MissingHook{{Hook: "egress", Device: "cali1", Reason: "another's ingress qdisc is there"}}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		from := Snapshot{Taken: start, Counts: &aggregate.Snapshot{}, MissingHooks: missing,
			Devices: []netdev.Device{device(1, "cali1", 0), device(2, "cali2", 0)}}
		to := Snapshot{Taken: start.Add(10 * time.Second), Counts: &aggregate.Snapshot{}, MissingHooks: missing,
			Devices: []netdev.Device{limited, device(2, "cali2", test.others)}}
		rows := missingHooks(newWindow("node", from, to), test.ended)
		if len(rows) != test.rows {
			t.Errorf("%s: %d rows, want %d: %+v", test.name, len(rows), test.rows, rows)
			continue
		}
		if len(rows) == 0 {
			continue
		}
		r := rows[0]
		if r.Device != netdev.PodLabel || r.Direction != journey.In || r.Blind() != test.blind || r.share() < test.ratio-test.wide || r.share() > test.ratio+test.wide {
			t.Errorf("%s: %+v with %v, want blind %v and %v", test.name, r, r.share(), test.blind, test.ratio)
		}
	}
}

// TestUnhookedLimits: of two pods whose devices lack the hook, each at a limit of its own, the devices tell how much passed.
func TestUnhookedLimits(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	from := Snapshot{Taken: start, Counts: &aggregate.Snapshot{}}
	to := Snapshot{Taken: start.Add(10 * time.Second), Counts: &aggregate.Snapshot{}}
	for i, workload := range []string{"web", "api"} {
		d := netdev.Device{Index: i + 1, Name: "cali" + workload, Kind: "veth", Role: netdev.RolePod, Up: true, EgressUnseen: true,
			Workload: "default/" + workload, Root: shapers(10_000_000)["htb"]}
		from.Devices = append(from.Devices, d)
		d.Traffic.TxPackets, d.Root = 900, full(d.Root, 10)
		to.Devices = append(to.Devices, d)
		missing := MissingHook{Hook: "egress", Device: d.Name, Reason: "another's ingress qdisc is there"}
		from.MissingHooks, to.MissingHooks = append(from.MissingHooks, missing), append(to.MissingHooks, missing)
		drop := aggregate.DropCount{
			DropKey: aggregate.DropKey{StageKey: aggregate.StageKey{Stage: journey.Queue, Device: netdev.PodLabel, Direction: journey.In}, Reason: "QDISC_DROP", Loss: true},
			Packets: 100, Segments: 100,
		}
		to.Counts.Drops = append(to.Counts.Drops, drop)
		to.Counts.Pairs = append(to.Counts.Pairs, aggregate.Pair{
			PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "client", DstNamespace: "default", DstWorkload: workload, Direction: journey.In},
			Drops:   []aggregate.DropCount{drop},
		})
	}
	limits, found := 0, 0
	w := newWindow("node", from, to)
	for _, q := range w.queues {
		if q.dropped > 0 {
			limits++ // before what a qdisc has counted
			if q.lossRatio() != 0.1 {
				t.Errorf("%d of %d packets, want one in ten", q.dropped, q.arrived())
			}
		}
		if f := q.dropFinding(w); f != nil {
			found++
			t.Logf("%s: %q", f.Sentence(), f.Evidence)
		}
	}
	if limits != 2 || found != 2 {
		t.Errorf("%d limits, %d findings, want 2 and 2", limits, found)
	}
}

// TestWaitsUnseen: round trips are the other node's, unless most packets may have waited where this node lacks a hook.
func TestWaitsUnseen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		device  netdev.Device
		missing bool // all the time
		want    bool
	}{
		{"at the limit", netdev.Device{Role: netdev.RolePod, Workload: "default/web", Root: netdev.Qdisc{Kind: "tbf", Overlimits: 100}}, true, true},
		{"now and then at the limit", netdev.Device{Role: netdev.RolePod, Workload: "default/web", Root: netdev.Qdisc{Kind: "tbf", Overlimits: 10}}, true, false},
		{"below the limit", netdev.Device{Role: netdev.RolePod, Workload: "default/web", Root: netdev.Qdisc{Kind: "tbf"}}, true, false},
		{"another workload's limit", netdev.Device{Role: netdev.RolePod, Workload: "default/api", Root: netdev.Qdisc{Kind: "tbf", Overlimits: 100}}, true, false},
		{"a hook behind others' programs", netdev.Device{Role: netdev.RolePod, Workload: "default/web", Root: netdev.Qdisc{Kind: "tbf", Overlimits: 100}}, false, false},
		{"the uplink", netdev.Device{Role: netdev.RoleUplink, Leaves: true, Root: netdev.Qdisc{Kind: "fq", Packets: 1000}}, true, true},
	} {
		before := netdev.Device{Index: 1, Name: "cali1", Role: test.device.Role, Root: netdev.Qdisc{Kind: test.device.Root.Kind}}
		now := test.device
		now.Index, now.Name, now.EgressUnseen, now.Traffic.TxPackets = before.Index, before.Name, true, 1000
		var missing []MissingHook
		if test.missing {
			missing = []MissingHook{{Hook: "egress", Device: before.Name}}
		}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		w := newWindow("node",
			Snapshot{Taken: start, Counts: &aggregate.Snapshot{}, Devices: []netdev.Device{before}, MissingHooks: missing},
			Snapshot{Taken: start.Add(10 * time.Second), Counts: &aggregate.Snapshot{}, Devices: []netdev.Device{now}, MissingHooks: missing})
		if got := w.waitsUnseen(&aggregate.Pair{PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web"}}); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
