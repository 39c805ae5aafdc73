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
func (a *Agent) TakeSnapshot() (diagnose.Snapshot, error) {
	if err := a.scan(); err != nil {
		return diagnose.Snapshot{}, err
	}
	return a.moment(a.counts.Snapshot)
}

// GlanceSnapshot is this moment without its flows, by what has been counted so far and the open journeys as scanned last.
func (a *Agent) GlanceSnapshot() (diagnose.Snapshot, error) {
	return a.glance(a.counts.SnapshotWithoutFlows)
}

// glance is the same by a snapshot of either kind.
func (a *Agent) glance(snapshot func() *aggregate.Snapshot) (diagnose.Snapshot, error) {
	state, err := a.watcher.Refresh()
	if err != nil {
		return diagnose.Snapshot{}, fmt.Errorf("read the devices' counters: %w", err)
	}
	devices := a.limited(a.traced(state))
	return diagnose.Snapshot{
		Taken: time.Now(), Counts: snapshot(), Devices: devices, Stats: a.stats(),
		Events: a.watcher.Events(), ActiveDevices: a.carriers.see(devices), ExpectQdisc: a.options.ExpectQdisc, Baseline: a.usual(),
		DropsUnseen: !a.loader.Up("kfree_skb"), Lookups: a.fib.lookups(Monotonic()),
	}, nil
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
func (a *Agent) moment(snapshot func() *aggregate.Snapshot) (diagnose.Snapshot, error) {
	m, err := a.GlanceSnapshot()
	if err != nil {
		return diagnose.Snapshot{}, err
	}
	until := int64(Monotonic())
	if a.options.Learner != nil && a.waiting.passed.Load() > 0 {
		// As long as the reader comes round; one that does not is told by health.
		for end := m.Taken.Add(2 * settle); a.waiting.passed.Load() < until && time.Now().Before(end); {
			time.Sleep(tick / 50)
		}
	}
	counted := *snapshot()
	counted.InFlight = m.Counts.InFlight
	m.Counts = &counted
	return m, nil
}

// SnapshotBefore is the latest moment kept that is at least so long ago, or the earliest.
func (a *Agent) SnapshotBefore(window time.Duration) diagnose.Snapshot {
	return a.history.before(time.Now().Add(-window))
}

// Monotonic is the clock of all times in records (CLOCK_MONOTONIC).
func Monotonic() time.Duration { return loader.Monotonic() }
