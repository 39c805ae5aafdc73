package agent

import (
	"fmt"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/loader"
	"tracer/internal/record"
)

// TakeSnapshot is this moment, with the open journeys and the qdiscs' counters as they are.
func (a *Agent) TakeSnapshot() (Snapshot, error) {
	if err := a.scan(); err != nil {
		return Snapshot{}, err
	}
	return a.moment(a.counts.Snapshot)
}

// GlanceSnapshot is this moment without its flows, by what has been counted so far and the open journeys as scanned last.
func (a *Agent) GlanceSnapshot() (Snapshot, error) { return a.glance(a.counts.SnapshotWithoutFlows) }

// glance is the same by a snapshot of either kind.
func (a *Agent) glance(snapshot func() *aggregate.Snapshot) (Snapshot, error) {
	state, err := a.watcher.Refresh()
	if err != nil {
		return Snapshot{}, fmt.Errorf("read the devices' counters: %w", err)
	}
	m := Snapshot{Taken: time.Now(), Snapshot: snapshot(), Devices: a.limited(a.traced(state)), Stats: a.stats()}
	m.Known = Known{
		Events: a.watcher.Events(), ActiveDevices: a.carriers.see(m.Devices), ExpectQdisc: a.options.ExpectQdisc, Baseline: a.usual(),
		DropsUnseen: !a.loader.Up("kfree_skb"), Lookups: a.fib.lookups(Monotonic()),
	}
	return m, nil
}

// stats are the kernel's own counts, as far as they can be read.
func (a *Agent) stats() record.Stats {
	stats, err := a.counters.Read()
	if err != nil {
		a.unread.Do(func() { a.options.Log.Warn("some of the kernel's counters are missing from diagnoses", "err", err) })
	}
	return stats
}

// moment is this moment by a snapshot of either kind, with the open journeys as they were scanned last. Where records
// wait for their names it waits as long, so that all of them that had ended are counted.
func (a *Agent) moment(snapshot func() *aggregate.Snapshot) (Snapshot, error) {
	m, err := a.GlanceSnapshot()
	if err != nil {
		return Snapshot{}, err
	}
	until := int64(Monotonic())
	if a.options.Learner != nil && a.waiting.passed.Load() > 0 {
		// As long as the reader comes round; one that does not is told by health.
		for end := m.Taken.Add(2 * settle); a.waiting.passed.Load() < until && time.Now().Before(end); {
			time.Sleep(tick / 50)
		}
	}
	counted := *snapshot()
	counted.InFlight = m.Snapshot.InFlight
	m.Snapshot = &counted
	return m, nil
}

// SnapshotBefore is the latest moment kept that is at least so long ago, or the earliest.
func (a *Agent) SnapshotBefore(window time.Duration) Snapshot {
	return a.history.before(time.Now().Add(-window))
}

// Judge diagnoses what happened between two moments. node is what the report calls this node.
func Judge(node string, from, to Snapshot) diagnose.Report {
	return diagnose.Diagnose(diagnose.Input{
		Node:           node,
		Started:        from.Taken,
		Window:         to.Taken.Sub(from.Taken),
		Snapshot:       to.Snapshot.Since(from.Snapshot),
		InFlightBefore: from.Snapshot.InFlight,
		Devices:        to.Devices,
		Before:         from.Devices,
		Stats:          to.Stats, StatsBefore: from.Stats,
		Events:        to.Known.Events,
		ActiveDevices: to.Known.ActiveDevices,
		ExpectQdisc:   to.Known.ExpectQdisc,
		DropsUnseen:   to.Known.DropsUnseen,
		Lookups:       to.Known.Lookups,
		Baseline:      to.Known.Baseline,
	})
}

// Monotonic is the clock of all times in records (CLOCK_MONOTONIC).
func Monotonic() time.Duration { return loader.Monotonic() }
