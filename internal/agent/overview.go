package agent

import (
	"context"
	"iter"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/overview"
)

const (
	// diagnosisWindow is what the verdict of an overview is about at least, and diagnosisEvery how often it is made once it
	// is about as much: it is the most expensive part, and changes slowly.
	diagnosisWindow = 15 * time.Second
	diagnosisEvery  = 5 * time.Second
	// firstFlowsWindow is how long a first window of flows is, since the history is without flows.
	firstFlowsWindow = time.Second
)

// Overviews yields one overview at once, of the window that its verdict is about, and then one for each interval, until ctx ends. node is
// what this node is called; about tells what the caller knows of the agent. An error is the last that it yields.
func (a *Agent) Overviews(ctx context.Context, q overview.Query, node string, about func() overview.About) iter.Seq2[*overview.Overview, error] {
	return func(yield func(*overview.Overview, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		count := a.counts.SnapshotWithoutFlows
		if q.By == overview.ByFlow {
			count = a.counts.Snapshot
		}
		var slow *slowestJourneys
		if q.Pair != nil {
			slow = &slowestJourneys{pair: *q.Pair, names: a.options.Namer}
			a.Subscribe(ctx, slow.consider)
		}
		judgedWindow := max(q.Interval, diagnosisWindow)
		from := a.SnapshotBefore(judgedWindow)
		wait := q.Interval
		if q.By == overview.ByFlow {
			wait = min(wait, firstFlowsWindow)
		}
		var report diagnose.Report
		var judged time.Time
		timer := time.NewTimer(wait)
		defer timer.Stop()
		for {
			to, err := a.quickSnapshot(count, liveEvery) // a live view does not wait for late names
			if err != nil {
				yield(nil, err)
				return
			}
			// A young agent's window grows with each overview.
			if to.Taken.Sub(judged) >= diagnosisEvery || report.WindowSeconds < judgedWindow.Seconds() {
				report, judged = diagnose.Diagnose(node, a.SnapshotBefore(judgedWindow), to), to.Taken
			}
			in := overview.Input{
				About: about(), Taken: to.Taken, Window: window(from.Counts, to.Counts), Devices: to.Devices, Before: from.Devices,
				Report: report, Baseline: to.Baseline, Workloads: a.counts.WorkloadsBehind(),
				LinkSpeeds: linkSpeeds("/sys", to.Devices),
			}
			if q.Pair != nil {
				in.History, in.Slowest = a.trends.of(*q.Pair), slow.drain(to.Devices)
			}
			if !yield(overview.Build(in, q), nil) {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				timer.Reset(q.Interval)
			}
			from = to
		}
	}
}

// window is what happened between two snapshots. Where the first has no flows they are left out: what they have counted
// is of another time.
func window(from, to *aggregate.Snapshot) *aggregate.Snapshot {
	w := to.Since(from)
	switch {
	case from.Flows == nil:
		w.Flows = nil
	case w.Flows == nil:
		w.Flows = []aggregate.Flow{}
	}
	return w
}
