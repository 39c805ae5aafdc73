package incident

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/internal/trace"
)

var began = time.Date(2026, 5, 1, 3, 2, 11, 0, time.UTC)

// busy are a node's snapshots, so many seconds apart: pairs with four stages each, pods' devices, a queue that holds packets, and the
// kernel's counters. Every counter has grown by as much in each.
func busy(pairs, devices, snapshots int) []diagnose.Snapshot {
	stages := []aggregate.StageKey{
		{Stage: journey.Forward, Device: "tunl0", Direction: journey.Out}, {Stage: journey.Queue, Device: "tunl0", Direction: journey.Out},
		{Stage: journey.Encap, Device: "tunl0", Direction: journey.Out}, {Stage: journey.Queue, Device: "eth0", Direction: journey.Out},
	}
	var out []diagnose.Snapshot
	for n := range snapshots {
		age := uint64(n + 1)
		c := &aggregate.Snapshot{Taken: began.Add(time.Duration(n) * 5 * time.Second), Records: 1e6 * age}
		all := make([]aggregate.StageDelay, len(stages))
		for i := range pairs {
			p := aggregate.Pair{PairKey: aggregate.PairKey{
				SrcNamespace: "shop", SrcWorkload: fmt.Sprintf("web-%d", i), DstNamespace: "shop", DstWorkload: "api", Direction: journey.Out,
			}, Service: "shop/api", Packets: float64(100 * age * uint64(1+i)), Bytes: 1e5 * float64(age), TCP: &aggregate.TCP{Segments: 100 * age, Delivered: 100 * age}}
			p.TCP.RTT.Observe(1e-3, 100*age)
			for j, at := range stages {
				st := aggregate.StageDelay{StageKey: at}
				for k := range 30 {
					st.Delay.Observe(1e-5*float64(1+k+i%7)*float64(1+999*(j%2)), 3*age)
				}
				all[j].StageKey = at
				all[j].Delay.Merge(&st.Delay)
				p.Stages = append(p.Stages, st)
				p.Path.Merge(&st.Delay)
			}
			if i%10 == 0 {
				p.Drops = []aggregate.DropCount{{DropKey: aggregate.DropKey{StageKey: stages[1], Reason: "QDISC_DROP", Loss: true}, Packets: 5 * age}}
			}
			c.Pairs = append(c.Pairs, p)
		}
		c.Stages = all
		held := aggregate.InFlight{StageKey: stages[1], Packets: 64, Oldest: 0.6}
		for i := range min(pairs, 64) {
			held.Pairs = append(held.Pairs, aggregate.InFlightPair{PairKey: c.Pairs[i].PairKey, Packets: 1, Oldest: 0.6})
		}
		held.Ages.Observe(0.3, 64)
		c.InFlight = []aggregate.InFlight{held}
		slices.SortFunc(c.Pairs, func(a, b aggregate.Pair) int { return a.Compare(b.PairKey) })
		list := []netdev.Device{
			{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true, MTU: 1500, Root: netdev.Qdisc{Kind: "fq_codel"}},
			{Index: 3, Name: "tunl0", Kind: "ipip", Role: netdev.RoleOverlay, Up: true, MTU: 1480, Root: netdev.Qdisc{Kind: "netem", Drops: 5 * age, BacklogPackets: 64}},
		}
		for i := range devices {
			list = append(list, netdev.Device{Index: 10 + i, Name: fmt.Sprintf("cali%d", i), Kind: "veth", Role: netdev.RolePod, Up: true, MTU: 1480,
				Workload: fmt.Sprintf("shop/web-%d", i), Root: netdev.Qdisc{Kind: "noqueue"}, Traffic: netdev.Traffic{RxPackets: 1000 * age}})
		}
		out = append(out, diagnose.Snapshot{
			Taken: c.Taken, Counts: c, Devices: list,
			Stats:  record.Stats{Protocols: map[string]uint64{"TcpRetransSegs": 40 * age, "IpForwDatagrams": 1000 * age, "IpInHdrErrors": 3}},
			Events: []netdev.Event{{Time: began.Add(-time.Hour), Kind: netdev.LinkEvent, Device: "eth0", Text: "came up"}, {Time: began.Add(time.Second), Kind: netdev.QdiscEvent, Device: "tunl0", Role: netdev.RoleOverlay, Text: "root qdisc noqueue became netem"}},
		})
	}
	return out
}

// journeys are some of one packet each.
func journeys(n int) (out []trace.Trace) {
	for i := range n {
		out = append(out, trace.Trace{
			Time: began, Kind: "finished", Direction: journey.Out, Src: aggregate.Identity{Namespace: "shop", Pod: "web-1-7d9c6b5f4-x2x7k", Workload: "web-1", Node: "worker-a"},
			Dst:   aggregate.Identity{Namespace: "shop", Pod: "api-0", Workload: "api", Node: "worker-b", NodeAddress: netip.MustParseAddr("172.18.0.3")},
			First: trace.Flow{Source: "10.244.1.2:40000", Destination: "10.96.0.10:80", Protocol: "tcp"}, Last: trace.Flow{Source: "10.244.1.2:40000", Destination: "[fd00:10:244::9]:8080", Protocol: "tcp"},
			Hooks:        []trace.Hook{{Hook: "ingress", Device: "cali1", Role: netdev.RolePod, Ifindex: 11}, {Hook: "xmit", Device: "eth0", Ifindex: 2, At: 1000}},
			Stages:       []trace.Stage{{Stage: journey.Queue, Device: "tunl0", Seconds: 0.5}},
			TotalSeconds: 0.5 + float64(i), Segments: 1, Weight: 1,
		})
	}
	return out
}

// incidentOf is one of those snapshots, with what the agent would have said.
func incidentOf(snapshots []diagnose.Snapshot) *Incident {
	i := &Incident{Header: Header{
		Version: Version, Began: began, Node: "worker-a", Tracer: "1.2.3", Kernel: "6.12.1", Netns: 4026531840, Started: began.Add(-time.Hour),
		Usual: []Usual{{aggregate.StageKey{Stage: journey.Queue, Device: "tunl0", Direction: journey.Out}, 2e-5}}, Speeds: []Speed{{2, 1e10}},
	}}
	var tracker diagnose.Tracker
	for k := 1; k < len(snapshots); k++ {
		report := diagnose.Diagnose("worker-a", snapshots[max(0, k-3)], snapshots[k])
		i.Frames = append(i.Frames, NewFrame(&snapshots[k-1], &snapshots[k], &Seen{40, []string{"egress cali99: gone"}, 0.25, 7, 4}, &report, journeys(5), nil))
		started, _, _ := tracker.Round(&report, snapshots[k].Taken)
		for _, f := range started {
			i.Changes = append(i.Changes, Change{snapshots[k].Taken, Begins, f})
		}
	}
	return i
}

func encoded(t testing.TB, i *Incident) []byte {
	t.Helper()
	var text bytes.Buffer
	if err := i.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// TestTold: what is read back is what was kept, and its report is the agent's, word by word.
func TestTold(t *testing.T) {
	t.Parallel()
	snapshots := busy(40, 40, 6)
	i := incidentOf(snapshots)
	back, err := Read(bytes.NewReader(encoded(t, i)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(encoded(t, i)), string(encoded(t, back))); diff != "" {
		t.Error(diff)
	}
	report := diagnose.Diagnose("worker-a", snapshots[0], snapshots[3])
	var was, is strings.Builder
	if err := errors.Join(report.WriteText(&was, false), back.Frames[2].Report.WriteText(&is, false)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(was.String(), is.String()); diff != "" {
		t.Error(diff)
	}
	if p := back.Principal(); p.Cause != diagnose.QdiscDelay || p.Device != "tunl0" || p.Severity != diagnose.Critical {
		t.Errorf("the principal finding is %s at %s", p.Cause, p.Device)
	}
	f := back.Frames[0]
	if got := f.Counts.Pairs; len(got) != maxPairs || got[0].Path.Count() != 4*30*3 {
		t.Errorf("%d pairs, the first has %d packets", len(got), got[0].Path.Count())
	}
	if len(f.Devices) != 2+maxPodDevices || len(f.Events) != 1 || f.Events[0].Device != "tunl0" || f.Rises["TcpRetransSegs"] != 40 || f.Rises["IpInHdrErrors"] != 0 {
		t.Errorf("%d devices, events %v, rises %v", len(f.Devices), f.Events, f.Rises)
	}
	if !back.Ended().IsZero() {
		t.Errorf("it ended at %v", back.Ended())
	}
	for _, c := range back.Findings() {
		c.Kind, c.Time = Ends, began.Add(time.Minute)
		back.Changes = append(back.Changes, c)
	}
	if end := back.Ended(); !end.Equal(began.Add(time.Minute)) {
		t.Errorf("it ended at %v", end)
	}
}

// TestNamedPairsStay: what the report names is kept before what is busy.
func TestNamedPairsStay(t *testing.T) {
	t.Parallel()
	s := busy(500, 500, 2)
	report := diagnose.Report{Findings: []diagnose.Finding{{Pairs: []diagnose.Pair{{Src: "shop/web-1", Dst: "shop/api"}}}}}
	f := NewFrame(&s[0], &s[1], nil, &report, nil, nil)
	if !slices.ContainsFunc(f.Counts.Pairs, func(p aggregate.Pair) bool { return p.SrcWorkload == "web-1" }) {
		t.Error("the named pair was left out")
	}
	if !slices.ContainsFunc(f.Devices, func(d netdev.Device) bool { return d.Workload == "shop/web-1" }) {
		t.Error("the named pod's device was left out")
	}
}

// BenchmarkIncident is what one costs on a node with 2,000 pairs and 300 pods: seven frames of before and 19 after, made and written.
func BenchmarkIncident(b *testing.B) {
	snapshots := busy(2000, 300, 2)
	report := diagnose.Diagnose("worker-a", snapshots[0], snapshots[1])
	slow := journeys(5)
	s := Store{Dir: b.TempDir()}
	b.ReportAllocs()
	begin := cpuTime(b)
	defer func() { b.ReportMetric(float64((cpuTime(b)-begin).Microseconds())/1e3/float64(b.N), "cpu-ms/op") }()
	for b.Loop() {
		i := &Incident{Header: Header{Version: Version, Began: began}, Changes: []Change{{began, Begins, diagnose.ActiveFinding{Finding: report.Findings[0]}}}}
		for range 7 {
			i.Frames = append(i.Frames, NewFrame(&snapshots[0], &snapshots[1], nil, &report, slow, nil))
		}
		if err := s.Begin(i, "qdisc-delay"); err != nil {
			b.Fatal(err)
		}
		id := i.ID
		for range 19 {
			f := NewFrame(&snapshots[0], &snapshots[1], nil, &report, slow, nil)
			if err := s.AddFrame(id, &f); err != nil {
				b.Fatal(err)
			}
		}
		if info, err := os.Stat(s.path(id)); err == nil {
			b.ReportMetric(float64(info.Size()), "file-bytes")
		}
		if err := os.Remove(s.path(id)); err != nil {
			b.Fatal(err)
		}
	}
}

// cpuTime is what this process has used so far, the collection of garbage included.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
