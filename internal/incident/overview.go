package incident

import (
	"fmt"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// Overview is what was seen and said in one frame, the first being 0. The error is ErrNoFlows where flows are asked for.
func (i *Incident) Overview(frame int, q overview.Query) (*overview.Overview, error) {
	if q.By == overview.ByFlow {
		return nil, ErrNoFlows
	}
	if frame < 0 || frame >= len(i.Frames) {
		return nil, fmt.Errorf("there is no frame %d of the %d of this incident", frame, len(i.Frames))
	}
	return i.overview(frame, q), nil
}

func (i *Incident) overview(frame int, q overview.Query) *overview.Overview {
	f := &i.Frames[frame]
	in := overview.Input{
		About: i.about(f), Taken: f.Taken, Window: f.Counts, Devices: f.Devices, Report: f.Report,
		Workloads: map[int]string{}, LinkSpeeds: map[int]float64{}, Baseline: map[aggregate.StageKey]float64{},
	}
	for k := range f.Before {
		b := &f.Before[k]
		in.Before = append(in.Before, netdev.Device{Index: b.Index, Traffic: b.Traffic, Root: b.Root})
	}
	for k := range f.Devices {
		if d := &f.Devices[k]; d.Workload != "" {
			in.Workloads[d.Index] = d.Workload
		}
	}
	for _, s := range i.Speeds {
		in.LinkSpeeds[s.Ifindex] = s.Bits
	}
	for _, u := range i.Usual {
		in.Baseline[u.StageKey] = u.P50
	}
	if q.Pair != nil {
		kept := points(i.Frames[:frame+1])
		in.Slowest, in.History, in.RequestHistory = ofPair(f.Slowest, *q.Pair), trends(kept, *q.Pair), requestTrend(kept, *q.Pair)
	}
	o := overview.Build(in, q)
	o.PacketsPerSecond, o.BitsPerSecond = 0, 0 // those of the pairs that were kept
	if t, seconds := f.Totals, f.Counts.Window.Seconds(); t != nil && seconds > 0 {
		o.PacketsPerSecond, o.BitsPerSecond, o.PairsCounted = t.Packets/seconds, 8*t.Bytes/seconds, t.Pairs
	} else {
		o.VolumeUnknown = true
	}
	return o
}

// about tells of the tracer that counted, as far as that was kept.
func (i *Incident) about(f *Frame) overview.About {
	a := overview.About{Version: i.Tracer, Node: i.Node, Kernel: i.Kernel, Started: i.Started}
	if s := f.Seen; s != nil {
		a.HooksUp, a.HooksMissing, a.SampleRatio, a.RecordsMissed, a.WatchedOneIn = s.HooksUp, s.HooksMissing, s.SampleRatio, s.RecordsMissed, s.WatchedOneIn
	} else {
		a.SeenUnknown = true
	}
	return a
}

// ofPair are the journeys of a pair.
func ofPair(all []trace.Trace, pair aggregate.PairKey) (out []trace.Trace) {
	for i := range all {
		if t := &all[i]; t.Direction == pair.Direction && aggregate.SamePair(pair, t.Src, t.Dst) {
			out = append(out, *t)
		}
	}
	return out
}

// Points of a trend are trendEvery apart, and at most maxPoints: those of the live view.
const (
	trendEvery = 5 * time.Second
	maxPoints  = 60
)

// points are those of a trend in frames, up to the end of the last: of each the frame in which it is, nil for one between two. A frame that
// is longer than a point is several.
func points(frames []Frame) []*Frame {
	last := frames[len(frames)-1].Taken
	first := frames[0].Taken.Add(-frames[0].Counts.Window)
	out := make([]*Frame, min(maxPoints, max(1, int((last.Sub(first)+trendEvery/2)/trendEvery))))
	for i := range out {
		at := last.Add(-time.Duration(len(out)-1-i) * trendEvery)
		k := slices.IndexFunc(frames, func(f Frame) bool { return !f.Taken.Before(at) }) // the last is one
		if at.After(frames[k].Taken.Add(-frames[k].Counts.Window)) {
			out[i] = &frames[k]
		}
	}
	return out
}

// trends are the p50s of a pair's stages.
func trends(points []*Frame, pair aggregate.PairKey) (out []overview.Trend) {
	for point, f := range points {
		if f == nil {
			continue
		}
		p := slices.IndexFunc(f.Counts.Pairs, func(p aggregate.Pair) bool { return p.PairKey == pair })
		if p < 0 {
			continue
		}
		for j := range f.Counts.Pairs[p].Stages {
			s := &f.Counts.Pairs[p].Stages[j]
			if s.Delay.Count() == 0 {
				continue
			}
			place := overview.Place{Stage: s.Stage, Device: s.Device}
			t := slices.IndexFunc(out, func(t overview.Trend) bool { return t.Place == place })
			if t < 0 {
				t = len(out)
				out = append(out, overview.Trend{Place: place, EverySeconds: trendEvery.Seconds(), P50: make([]*float64, len(points))})
			}
			p50 := s.Delay.Quantile(0.5)
			out[t].P50[point] = &p50
		}
	}
	return out
}

// requestTrend is what became of a pair's requests; nil if it had none. Nothing is known of it in a frame that has not kept it, and in one
// that has not kept its way back only how many there were: where their time went would be told wrong.
func requestTrend(points []*Frame, pair aggregate.PairKey) *overview.RequestTrend {
	out := make([]*overview.RequestPoint, len(points))
	for i, f := range points {
		switch {
		case i > 0 && f == points[i-1]:
			out[i] = out[i-1]
		case f != nil && slices.ContainsFunc(f.Counts.Pairs, func(p aggregate.Pair) bool { return p.PairKey == pair }):
			p := overview.RequestPoints(f.Counts)[pair]
			if p.Requests != nil && !f.keptBothWays(pair) {
				p.Requests.Client, p.Requests.Server = nil, nil
			}
			out[i] = &p
		}
	}
	return overview.NewRequestTrend(trendEvery.Seconds(), out)
}

// keptBothWays tells whether a frame has all that was seen of a pair that it has kept, and of its way back.
func (f *Frame) keptBothWays(pair aggregate.PairKey) bool {
	back := pair.Reverse()
	return len(f.Counts.Pairs) < maxPairs || slices.ContainsFunc(f.Counts.Pairs, func(p aggregate.Pair) bool { return p.PairKey == back })
}
