// Package agent traces one network namespace: it joins the programs in the kernel, the devices, the names and the
// counts, for the DaemonSet's process as well as for a command that traces for some seconds by itself.
//
// Start, then Run until the context ends, then Close. Snapshot, Overviews and ActiveFindings may be called meanwhile.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tracer/internal/agent/latenames"
	"tracer/internal/aggregate"
	"tracer/internal/device"
	"tracer/internal/governor"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/netstat"
	"tracer/internal/record"
)

// Options of an Agent. Namer is required.
type Options struct {
	Loader  loader.Options
	Devices []string // patterns as device.Match takes them; none: all devices with a role
	Namer   aggregate.Namer
	Limits  governor.Limits // of what tracing may cost; zero fields mean the defaults
	// SamplingKey is what all agents of a cluster share and others do not know, so that all sample the same packets; "" or no function
	// while it is not known: then this agent samples by itself.
	SamplingKey func() string
	// OwnerSource is the Namer again, if it may learn late who had an address: records then wait for it.
	OwnerSource latenames.OwnerSource
	// ExpectQdisc are the root qdiscs that are there on purpose, by device.
	ExpectQdisc map[string]string
	// StateDir is where the learned baseline is kept for the next start; "" for nowhere.
	StateDir string
	Log      *slog.Logger // slog.Default() if nil
	// LogFindings logs each finding as it begins and as it ends: for an agent whose view nobody watches.
	LogFindings bool
	// Incidents say where what led to findings is kept.
	Incidents IncidentOptions

	leaveHooks bool                  // for tests: hooks that others precede are left as they are
	observed   func([]record.Record) // for tests: gets what is counted
}

// Agent traces until it is closed.
type Agent struct {
	options  Options
	failures failures
	loader   *loader.Loader
	watcher  *device.Watcher
	netstat  *netstat.Reader
	tunnels  tunnels
	nics     nics
	started  time.Time
	read     atomic.Int64 // when the loop that reads records last ran, in Unix nanoseconds

	counts        *aggregate.Aggregator
	lateNames     *latenames.Waiter
	sampling      adaptiveSampling
	watched       watchedConnections
	listenTargets listenTargets
	routeLookups  routeLookups
	conntrack     conntrackLookups
	missent       *missent
	netfilter     netfilterLosses
	activeDevices activeDevices
	coverage      coverage
	own           ownAddresses
	history       history
	flowWindow    flowWindow
	trends        delayTrends
	findings      findings
	incidents     incidents
	podEnds       podEnds
	devicesSet    sync.Mutex // held while the loader is told of devices: never of older ones behind newer ones
	baseline      baseline
	podThrottling podThrottling
	policers      policers
	subscribers   subscribers
	mending       mending
}

// Start begins to trace the calling thread's network namespace. Patterns that match no device, a kernel that lacks what
// is needed, and a namespace that is traced already are errors here. The caller runs and closes the Agent.
func Start(options Options) (_ *Agent, err error) {
	if options.Log == nil {
		options.Log = slog.Default()
	}
	a := &Agent{options: options, failures: newFailures(options.Log), started: time.Now(), missent: newMissent()}
	a.lateNames = latenames.New(options.OwnerSource, a.add)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.watcher, err = device.NewWatcher(device.Options{Log: options.Log}); err != nil {
		return nil, err
	}
	// Before anything is attached, so that a wrong pattern costs nothing.
	if _, err = device.Match(options.Devices, a.watcher.State().Devices); err != nil {
		return nil, err
	}
	if a.netstat, err = netstat.Open(); err != nil {
		return nil, err
	}
	if err = a.routeLookups.open(); err != nil {
		return nil, err
	}
	if err = a.conntrack.open(); err != nil {
		return nil, err
	}
	if err = a.tunnels.open(); err != nil {
		return nil, err
	}
	if err = a.nics.open(); err != nil {
		return nil, err
	}
	if err = a.netfilter.open(); err != nil {
		return nil, err
	}
	a.sampling.start(options.Limits, options.SamplingKey)
	a.counts = aggregate.New(aggregate.Options{Namer: options.Namer})
	if a.loader, err = loader.New(options.Loader); err != nil {
		return nil, err
	}
	state := a.watcher.State()
	for name := range options.ExpectQdisc {
		if !slices.ContainsFunc(state.Devices, func(d netdev.Device) bool { return d.Name == name }) {
			options.Log.Warn("no such device (yet) for --expect-qdisc", "device", name)
		}
	}
	a.lateNames.SetDevices(a.traced(state), 0)
	if err = a.setDevices(); err != nil {
		return nil, err
	}
	a.read.Store(time.Now().UnixNano())
	first, err := a.completeSnapshot(a.counts.SnapshotWithoutFlows)
	if err != nil {
		return nil, err
	}
	a.history.add(first)
	if options.Incidents.Store.Dir != "" {
		a.incidents.start()
	}
	a.restoreBaseline()
	a.baseline.learned, a.baseline.saved = first.Taken, first.Taken
	return a, nil
}

// Run traces until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, task := range []func(context.Context) error{a.watchDevices, a.readRecords, a.answerMissent, a.pollKernel, a.pollRules, a.keepHistory, a.keepIncidents} {
		group.Go(func() error { return task(ctx) })
	}
	return group.Wait()
}

// Close ends tracing and removes everything from the kernel.
func (a *Agent) Close() error {
	a.subscribers.removeAll()
	if a.watcher != nil {
		a.watcher.Close()
	}
	a.routeLookups.close()
	a.conntrack.close()
	a.tunnels.close()
	a.netfilter.close()
	var errs []error
	if a.netstat != nil {
		errs = append(errs, a.netstat.Close())
	}
	if a.loader != nil {
		errs = append(errs, a.loader.Close())
	}
	errs = append(errs, a.nics.close())
	return errors.Join(errs...)
}

// Snapshot is what was counted since the start.
func (a *Agent) Snapshot() *aggregate.Snapshot { return a.counts.Snapshot() }

// SnapshotWithoutFlows is that without the flows, which are most of it.
func (a *Agent) SnapshotWithoutFlows() *aggregate.Snapshot { return a.counts.SnapshotWithoutFlows() }

// Unnamed is how many records of this node's pods were counted without a name, since none came in time.
func (a *Agent) Unnamed() uint64 { return a.lateNames.Unnamed() }

// NamedEarly is how many records were named sooner than after the usual delay, since too many waited.
func (a *Agent) NamedEarly() uint64 { return a.lateNames.Early() }

// Started is when the agent began to trace.
func (a *Agent) Started() time.Time { return a.started }

// LastRead is when the loop that reads records last ran, with or without any.
func (a *Agent) LastRead() time.Time { return time.Unix(0, a.read.Load()) }

// Loader is the agent's hold on the kernel, for what it says of itself.
func (a *Agent) Loader() *loader.Loader { return a.loader }
