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
	// verdictWindow is what the verdict of an overview is about, and verdictEvery how often it is made: it is the dearest
	// part, and changes slowly.
	verdictWindow = 15 * time.Second
	verdictEvery  = 5 * time.Second
	// firstWindow is the least window of the first overview, so that it shows something, and how long a first window of
	// flows is, of which no earlier moment is kept.
	firstWindow = time.Second
)

// Overviews yields one overview at once, of the last seconds, and then one for each interval, until ctx ends. node is
// what this node is called; about tells what the caller knows of the agent. An error is the last that it yields.
func (a *Agent) Overviews(ctx context.Context, q overview.Query, node string, about func() overview.About) iter.Seq2[*overview.Overview, error] {
	return func(yield func(*overview.Overview, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		snapshot := a.counts.SnapshotWithoutFlows
		if q.By == overview.ByFlow {
			snapshot = a.counts.Snapshot
		}
		var slow *slowest
		if q.Pair != nil {
			slow = &slowest{pair: *q.Pair, names: a.options.Namer}
			a.Subscribe(ctx, slow.take)
		}
		from := a.SnapshotBefore(max(q.Interval, firstWindow))
		wait := q.Interval
		if q.By == overview.ByFlow {
			wait = min(wait, firstWindow)
		}
		var report diagnose.Report
		var judged time.Time
		timer := time.NewTimer(wait)
		defer timer.Stop()
		for {
			to, err := a.glance(snapshot) // who looks does not wait for names that come late
			if err != nil {
				yield(nil, err)
				return
			}
			if to.Taken.Sub(judged) >= verdictEvery {
				report, judged = diagnose.Diagnose(node, a.SnapshotBefore(verdictWindow), to), to.Taken
			}
			in := overview.Input{
				About: about(), Taken: to.Taken, Window: window(from.Counts, to.Counts), Devices: to.Devices, Before: from.Devices,
				Report: report, Baseline: to.Baseline,
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
