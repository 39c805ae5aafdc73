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
	// firstFlowsWindow is how long a first window of flows is where nobody has asked for them lately, since the history is without flows.
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
			if before := a.flowWindow.begin(time.Now()); before != nil {
				from = *before
			} else {
				wait = min(wait, firstFlowsWindow)
			}
		}
		var report diagnose.Report
		var judged time.Time
		timer := time.NewTimer(wait)
		defer timer.Stop()
		for {
			to := a.history.last()
			// The first is as of now. Later ones that are as far apart as what is kept can do with that.
			if judged.IsZero() || q.Interval < snapshotEvery || q.By == overview.ByFlow || to.Taken.Sub(from.Taken) < snapshotEvery/2 {
				var err error
				if to, err = a.quickSnapshot(count, liveEvery); err != nil { // a live view does not wait for late names
					yield(nil, err)
					return
				}
			}
			if q.By == overview.ByFlow {
				a.flowWindow.add(to)
			}
			own, at := a.ownReport()
			usable := usableFor(&own, node, judgedWindow, to.Taken.Sub(at))
			switch {
			// A young agent's window grows with each overview.
			case judged.IsZero(), !usable && (to.Taken.Sub(judged) >= diagnosisEvery || report.WindowSeconds < judgedWindow.Seconds()):
				report, judged = diagnose.Diagnose(node, a.SnapshotBefore(judgedWindow), to), to.Taken
			case usable && at.After(judged):
				report, judged = own, at
			}
			in := overview.Input{
				About: about(), Taken: to.Taken, Window: window(from.Counts, to.Counts), Devices: to.Devices, Before: from.Devices,
				Report: report, Baseline: to.Baseline, Workloads: a.counts.WorkloadsBehind(),
				LinkSpeeds: linkSpeeds("/sys", to.Devices),
			}
			if q.Pair != nil {
				in.History, in.RequestHistory = a.trends.of(*q.Pair), a.trends.requestsOf(*q.Pair)
				in.Slowest = slow.drain(to.Devices)
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

// usableFor tells whether the agent's own report, made so long ago, is what an overview of a node and a window is to say: to diagnose
// once more is most of what a view costs.
func usableFor(own *diagnose.Report, node string, window, age time.Duration) bool {
	return own.Node == node && window == diagnosisWindow && own.WindowSeconds >= window.Seconds() && age < 2*diagnosisEvery
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
