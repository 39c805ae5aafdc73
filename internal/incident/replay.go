package incident

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// Replay shows an incident as overviews, frame by frame.
type Replay struct {
	incident *Incident

	mu     sync.Mutex
	frame  int // that is shown
	paused bool
}

// ErrNoFlows tells that flows were asked for.
var ErrNoFlows = errors.New("an incident keeps no flows: show it by pair, service or device")

// NewReplay begins with the frame of a time.
func NewReplay(i *Incident, at time.Time) (*Replay, error) {
	if len(i.Frames) == 0 {
		return nil, errors.New("nothing of this incident can be shown: no frame of it could be read")
	}
	r := &Replay{incident: i}
	for k := range i.Frames {
		if !i.Frames[k].Taken.After(at) {
			r.frame = k
		}
	}
	return r, nil
}

// Overviews yields the frame that is shown, and goes on to the next one at each of the query's intervals until ctx ends. The last one
// stays.
func (r *Replay) Overviews(ctx context.Context, q overview.Query) iter.Seq2[*overview.Overview, error] {
	return func(yield func(*overview.Overview, error) bool) {
		if q.By == overview.ByFlow {
			yield(nil, ErrNoFlows)
			return
		}
		timer := time.NewTicker(q.Interval)
		defer timer.Stop()
		for yield(r.overview(q), nil) {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			r.mu.Lock()
			if !r.paused {
				r.frame = min(r.frame+1, len(r.incident.Frames)-1)
			}
			r.mu.Unlock()
		}
	}
}

// Pause stops at the frame that is shown, or goes on.
func (r *Replay) Pause(paused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = paused
}

// Step goes so many frames on, or back.
func (r *Replay) Step(frames int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frame = max(0, min(r.frame+frames, len(r.incident.Frames)-1))
}

// overview is that of the frame that is shown.
func (r *Replay) overview(q overview.Query) *overview.Overview {
	r.mu.Lock()
	f := &r.incident.Frames[r.frame]
	r.mu.Unlock()
	in := overview.Input{
		About: r.about(f), Taken: f.Taken, Window: f.Counts, Devices: f.Devices, Report: f.Report,
		Workloads: map[int]string{}, LinkSpeeds: map[int]float64{}, Baseline: map[aggregate.StageKey]float64{},
	}
	for i := range f.Before {
		b := &f.Before[i]
		in.Before = append(in.Before, netdev.Device{Index: b.Index, Traffic: b.Traffic, Root: b.Root})
	}
	for i := range f.Devices {
		if d := &f.Devices[i]; d.Workload != "" {
			in.Workloads[d.Index] = d.Workload
		}
	}
	for _, s := range r.incident.Speeds {
		in.LinkSpeeds[s.Ifindex] = s.Bits
	}
	for _, u := range r.incident.Usual {
		in.Baseline[u.StageKey] = u.P50
	}
	if q.Pair != nil {
		in.Slowest = ofPair(f.Slowest, *q.Pair)
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
func (r *Replay) about(f *Frame) overview.About {
	a := overview.About{Version: r.incident.Tracer, Node: r.incident.Node, Kernel: r.incident.Kernel, Started: r.incident.Started}
	if s := f.Seen; s != nil {
		a.HooksUp, a.HooksMissing, a.SampleRatio, a.RecordsMissed = s.HooksUp, s.HooksMissing, s.SampleRatio, s.RecordsMissed
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
