package incident

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
)

// TestReplay shows frames one after the other, stops, goes back, and has no flows.
func TestReplay(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(20, 20, 5))
	r, err := NewReplay(i, i.Frames[1].Taken)
	if err != nil {
		t.Fatal(err)
	}
	q := overview.Query{By: overview.ByPair, Interval: time.Millisecond}
	var shown []time.Time
	for o, err := range r.Overviews(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if shown = append(shown, o.Taken); len(shown) == 5 {
			if o.Verdict != diagnose.Fault || len(o.Rows) < maxPairs || o.Node != "worker-a" || len(o.Devices) < 3 {
				t.Errorf("%s, %d rows of %s, %d devices", o.Verdict, len(o.Rows), o.Node, len(o.Devices))
			}
			break
		}
	}
	last := len(i.Frames) - 1
	if !shown[0].Equal(i.Frames[1].Taken) || !shown[1].Equal(i.Frames[2].Taken) || !shown[4].Equal(i.Frames[last].Taken) {
		t.Errorf("shown: %v", shown)
	}
	r.Pause(true)
	r.Step(-2)
	for o, err := range r.Overviews(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if !o.Taken.Equal(i.Frames[last-2].Taken) {
			t.Errorf("back at %v", o.Taken)
		}
		break
	}
	for _, err := range r.Overviews(t.Context(), overview.Query{By: overview.ByFlow, Interval: time.Millisecond}) {
		if !errors.Is(err, ErrNoFlows) {
			t.Errorf("flows: %v", err)
		}
	}
	if _, err := NewReplay(&Incident{}, time.Time{}); err == nil {
		t.Error("an empty one is shown")
	}
}

// TestReplayedFigures: the node's figures are of all its pairs and of what the agent saw then, not of the pairs that were kept.
func TestReplayedFigures(t *testing.T) {
	t.Parallel()
	s := busy(40, 2, 3)
	i := incidentOf(s)
	show := func(i *Incident) *overview.Overview {
		back, err := Read(bytes.NewReader(encoded(t, i)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReplay(back, began)
		if err != nil {
			t.Fatal(err)
		}
		return r.overview(overview.Query{By: overview.ByPair})
	}
	live := overview.Build(overview.Input{Window: s[1].Counts.Since(s[0].Counts)}, overview.Query{By: overview.ByPair})
	o := show(i)
	if len(o.Rows) >= 40 || o.PairsCounted != 40 || math.Abs(o.PacketsPerSecond-live.PacketsPerSecond) > 1e-6 || math.Abs(o.BitsPerSecond-live.BitsPerSecond) > 1e-6 {
		t.Errorf("%d pairs, %v packets/s, %v bit/s, the live view has %v and %v", o.PairsCounted, o.PacketsPerSecond, o.BitsPerSecond, live.PacketsPerSecond, live.BitsPerSecond)
	}
	if o.HooksUp != 40 || len(o.HooksMissing) != 1 || o.SampleRatio != 0.25 || o.RecordsMissed != 7 || o.WatchedOneIn != 4 || o.VolumeUnknown || o.SeenUnknown {
		t.Errorf("%+v", o.About)
	}
	for k := range i.Frames {
		i.Frames[k].Totals, i.Frames[k].Seen, i.Frames[k].Before = nil, nil, nil
	}
	if o = show(i); !o.VolumeUnknown || !o.SeenUnknown || o.PacketsPerSecond != 0 || o.SampleRatio != 0 || !o.Devices[0].RatesUnknown {
		t.Errorf("of an earlier version: %+v, %v packets/s", o.About, o.PacketsPerSecond)
	}
}

// TestReplayedRates: the rates of devices are those of the frame, of the first too, of a pod's device that was chosen for what it
// drops just then, and where the frame before is damaged.
func TestReplayedRates(t *testing.T) {
	t.Parallel()
	s := busy(2, 300, 4)
	const at = 2 + 250
	s[2].Devices[at].Traffic.TxDrops, s[3].Devices[at].Traffic.TxDrops = 50, 100
	i := incidentOf(s)
	i.Frames = slices.Delete(i.Frames, 1, 2)
	s[3].Devices[at].Name, s[3].Devices[at].Index = "cali-new", 999 // that was not there
	report := diagnose.Report{Findings: []diagnose.Finding{{Pairs: []diagnose.Pair{{Src: s[3].Devices[at].Workload}}}}}
	i.Frames = append(i.Frames, NewFrame(&s[2], &s[3], nil, &report, nil, nil))
	r, err := NewReplay(i, began)
	if err != nil {
		t.Fatal(err)
	}
	device := func(frame int, name string) overview.Device {
		t.Helper()
		r.frame = frame
		o := r.overview(overview.Query{By: overview.ByDevice})
		k := slices.IndexFunc(o.Devices, func(d overview.Device) bool { return d.Name == name })
		if k < 0 {
			t.Fatalf("%s is not in frame %d", name, frame)
		}
		return o.Devices[k]
	}
	for frame := range 2 {
		if d := device(frame, "tunl0"); d.DropsPerSecond != 1 || d.RatesUnknown {
			t.Errorf("frame %d: %v drops/s", frame, d.DropsPerSecond)
		}
	}
	if d := device(1, "cali250"); d.DropsPerSecond != 10 || d.RxPackets != 200 {
		t.Errorf("the pod's device: %v drops/s, %v packets/s", d.DropsPerSecond, d.RxPackets)
	}
	if d := device(2, "cali-new"); !d.RatesUnknown || d.RxPackets != 0 {
		t.Errorf("a device that was not there: %v packets/s", d.RxPackets)
	}
}

// TestTotalsOfPairsThatBeganAnew count them from there, as the window does.
func TestTotalsOfPairsThatBeganAnew(t *testing.T) {
	t.Parallel()
	s := busy(3, 0, 2)
	s[1].Counts.Pairs[0].Packets, s[1].Counts.Pairs[0].Bytes = 5, 500
	frame := NewFrame(&s[0], &s[1], nil, &diagnose.Report{}, nil, nil)
	var packets, bytes float64
	for _, p := range frame.Counts.Pairs {
		packets, bytes = packets+p.Packets, bytes+p.Bytes
	}
	if *frame.Totals != (Totals{3, packets, bytes}) || frame.Counts.Pairs[0].Packets != 5 {
		t.Errorf("%+v, the pairs have %v and %v", frame.Totals, packets, bytes)
	}
}
