package agent

import (
	"time"

	"tracer/internal/agent/latenames"
	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TakeSnapshot is what is known now, with the open journeys and the qdiscs' counters as they are.
func (a *Agent) TakeSnapshot() (diagnose.Snapshot, error) {
	if err := a.readOpenJourneys(); err != nil {
		return diagnose.Snapshot{}, err
	}
	a.readRules(true)
	a.readRoutes(a.KnownDevices(), true)
	return a.completeSnapshot(a.counts.Snapshot)
}

// SnapshotBefore is the latest snapshot of the history that was taken at least so long ago, or the earliest.
func (a *Agent) SnapshotBefore(window time.Duration) diagnose.Snapshot {
	return a.history.before(time.Now().Add(-window))
}

// quickSnapshot goes by what has been counted so far, by the open journeys as read last, and by counters of network cards and tunnels'
// other ends that are at most so old. count is what it counts.
func (a *Agent) quickSnapshot(count func() *aggregate.Snapshot, atMost time.Duration) (diagnose.Snapshot, error) {
	state, seen, err := a.readCoverage()
	if err != nil {
		return diagnose.Snapshot{}, err
	}
	devices := a.podEnds.read(a.withPods(a.traced(state)))
	devices = a.policers.of(devices, time.Now(), a.watcher.Policers)
	counts := count()
	a.readRoutes(devices, false)
	ways, peers := a.readTunnels(state.Devices, atMost)
	return diagnose.Snapshot{
		Taken: time.Now(), Counts: counts, Devices: devices, Stats: a.stats(),
		Events: a.watcher.Events(), ActiveDevices: a.activeDevices.update(devices), ExpectQdisc: a.options.ExpectQdisc, Baseline: a.baseline.p50s(),
		PeerRTT: a.baseline.roundTrips(), UsualRequests: a.baseline.requestTimes(), Throttling: a.throttling(devices),
		DropsUnseen: !a.loader.TracepointAttached("kfree_skb"), Lookups: a.routeLookups.results(loader.Monotonic()),
		Rulesets: a.rulesets(devices, loader.Monotonic()), Services: a.services(counts),
		Conntrack: a.conntrack.results(counts.Unanswered),
		Coverage:  seen, Doubt: a.own.doubted(), MissingHooks: a.missingHooks(),
		Tunnels: ways, Peers: peers, NICs: a.readNICs(state.Devices, atMost),
	}, nil
}

// completeSnapshot is a quickSnapshot that waits as long as records wait for their names, so that all that had ended are
// counted.
func (a *Agent) completeSnapshot(count func() *aggregate.Snapshot) (diagnose.Snapshot, error) {
	s, err := a.quickSnapshot(a.counts.SnapshotWithoutFlows, 0)
	if err != nil {
		return diagnose.Snapshot{}, err
	}
	until := loader.Monotonic()
	if a.lateNames.Delays() && a.lateNames.HandedOn() > 0 {
		// No longer than that: health tells of a reader that is stuck.
		for end := s.Taken.Add(2 * latenames.NameDelay); a.lateNames.HandedOn() < until && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
	}
	complete := *count()
	complete.InFlight = s.Counts.InFlight
	s.Counts = &complete
	return s, nil
}

// readRoutes asks the kernel's tables about what was lost lately. asked tells that somebody waits for a diagnosis.
func (a *Agent) readRoutes(devices []netdev.Device, asked bool) {
	a.failures.routes.Done(a.routeLookups.read(time.Now(), loader.Monotonic(), asked, devices, a.inPod))
}

// Freed is how many packets the kernel has freed since the start that were lost, and how many that were not.
func (a *Agent) Freed() (lost, noLoss uint64) { return a.counts.Freed() }

// stats are the kernel's own counts, as far as they can be read.
func (a *Agent) stats() record.Stats {
	stats, err := a.netstat.Read()
	a.failures.netstat.Done(err)
	return stats
}
