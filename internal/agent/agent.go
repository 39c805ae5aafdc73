// Package agent traces one network namespace: it joins the programs in the kernel, the devices, the names and the
// counts, for the DaemonSet's process as well as for a command that watches for some seconds by itself.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/device"
	"tracer/internal/governor"
	"tracer/internal/loader"
	"tracer/internal/netstat"
	"tracer/internal/record"
)

const (
	// tick is how often open journeys and lost records are looked at.
	tick = time.Second
	// retry is how often hooks that failed, or were put off, are tried again.
	retry = 5 * time.Second
)

// Options of an Agent. Namer is required.
type Options struct {
	Loader  loader.Options
	Devices []string // patterns as device.Match takes them; none: all devices with a role
	Namer   aggregate.Namer
	Limits  governor.Limits // of what following packets may cost; zero fields mean the defaults
	// Learner is the Namer again, if it may learn late who had an address: records then wait for it.
	Learner Learner
	// ExpectQdisc are the root qdiscs that are there on purpose, by device.
	ExpectQdisc map[string]string
	// StateDir is where what is usual is kept for the next start; "" for nowhere.
	StateDir string
	Log      *slog.Logger
	// LogFindings has a line of log when one begins and when it ends: for an agent that nobody looks at.
	LogFindings bool
}

// Agent traces until it is closed.
type Agent struct {
	options     Options
	loader      *loader.Loader
	watcher     *device.Watcher
	counters    *netstat.Reader
	unread      sync.Once // tells that some counters cannot be read
	counts      *aggregate.Aggregator
	waiting     waiting
	called      called
	fib         fib
	history     history
	trends      trends
	verdicts    verdicts
	carriers    carriers
	subscribers subscribers
	steering    steering
	started     time.Time
	read        atomic.Int64 // when the reader last came round, in Unix nanoseconds
}

// Start begins to trace the calling thread's network namespace. Patterns that match no device, a kernel that
// cannot, a namespace that is taken are errors here. The caller runs and closes the Agent.
func Start(options Options) (_ *Agent, err error) {
	a := &Agent{options: options, started: time.Now()}
	a.waiting.learner, a.waiting.next = options.Learner, a.add
	if options.Log == nil {
		a.options.Log = slog.Default()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.watcher, err = device.NewWatcher(device.Options{Log: a.options.Log}); err != nil {
		return nil, err
	}
	// Before anything is attached, so that a wrong pattern costs nothing.
	if _, err = device.Match(options.Devices, a.watcher.State().Devices); err != nil {
		return nil, err
	}
	if a.counters, err = netstat.Open(); err != nil {
		return nil, err
	}
	if err = a.fib.open(); err != nil {
		return nil, err
	}
	a.steering.start(options.Limits)
	a.counts = aggregate.New(aggregate.Options{Namer: options.Namer})
	if a.loader, err = loader.New(options.Loader); err != nil {
		return nil, err
	}
	state := a.watcher.State()
	for name := range options.ExpectQdisc {
		if !slices.ContainsFunc(state.Devices, func(d record.Device) bool { return d.Name == name }) {
			a.options.Log.Warn("a qdisc is expected at a device that is not here (yet)", "device", name)
		}
	}
	a.waiting.setDevices(a.traced(state), 0)
	if err = a.setDevices(state); err != nil {
		return nil, err
	}
	a.read.Store(time.Now().UnixNano())
	now, err := a.moment(a.counts.Brief)
	if err != nil {
		return nil, err
	}
	a.history.add(now)
	a.restoreUsual()
	a.verdicts.learnt, a.verdicts.kept = now.Taken, now.Taken
	return a, nil
}

// Run traces until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, task := range []func(context.Context) error{a.watch, a.count, a.look, a.remember} {
		group.Go(func() error { return task(ctx) })
	}
	return group.Wait()
}

// Close ends tracing and takes everything out of the kernel.
func (a *Agent) Close() error {
	a.subscribers.removeAll()
	if a.watcher != nil {
		a.watcher.Close()
	}
	a.fib.close()
	var errs []error
	if a.counters != nil {
		errs = append(errs, a.counters.Close())
	}
	if a.loader != nil {
		errs = append(errs, a.loader.Close())
	}
	return errors.Join(errs...)
}

// watch follows the devices.
func (a *Agent) watch(ctx context.Context) error {
	return a.watcher.Run(ctx, func(s device.State) {
		if !s.Since.IsZero() {
			a.waiting.setDevices(a.traced(s), Monotonic()-time.Since(s.Since))
		}
		if err := a.setDevices(s); err != nil {
			a.options.Log.Error("cannot trace the devices as they are now", "err", err)
		}
	})
}

func (a *Agent) setDevices(s device.State) error {
	traced := a.traced(s)
	a.counts.SetDevices(traced)
	return a.loader.SetDevices(traced, s.Addresses)
}

// count takes what the kernel sends.
func (a *Agent) count(ctx context.Context) error {
	return a.loader.Run(ctx, func(batch []record.Record) {
		a.read.Store(time.Now().UnixNano())
		// The loader may be closed before it has handed over the last records.
		if err := a.steer(batch); err != nil && !errors.Is(err, unix.EBADF) {
			a.options.Log.Error("cannot steer the sampling", "err", err)
		}
		a.called.note(batch, a.waiting.pods.Load())
		a.fib.note(batch)
		a.waiting.pass(batch, Monotonic())
	})
}

// add takes records that need not wait, or no longer.
func (a *Agent) add(batch []record.Record) {
	a.counts.AddAll(batch)
	a.subscribers.publish(batch)
}

// look reads, each second, what the kernel does not send.
func (a *Agent) look(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var before loader.Counters
	var unplaced, unasked trouble
	lastTry := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := a.lookOnce(&before); err != nil {
				a.options.Log.Error("cannot read the programs' state", "err", err)
			}
			unasked.tell(a.options.Log, "queues of connections that are full may stay unseen", a.lookAtListeners())
			if now.Sub(lastTry) >= retry {
				lastTry = now
				if err := a.setDevices(a.watcher.State()); err != nil {
					a.options.Log.Error("cannot trace the devices as they are now", "err", err)
				}
				unplaced.tell(a.options.Log, "drops inside some pods may stay unplaced", a.loader.SetPods(a.waiting.localPods()))
			}
		}
	}
}

// trouble is what was wrong the last time with something that is tried again and again.
type trouble string

// tell logs what is wrong now, unless it was wrong already.
func (t *trouble) tell(log *slog.Logger, message string, err error) {
	if err == nil {
		*t = ""
		return
	}
	if now := trouble(err.Error()); now != *t {
		*t = now
		log.Error(message, "err", err)
	}
}

func (a *Agent) lookOnce(before *loader.Counters) error {
	if err := a.scan(); err != nil {
		return err
	}
	after, err := a.loader.Counters()
	if err != nil {
		return err
	}
	// Journeys whose slot was torn are as lost as records that did not fit into the ring: those that were read stand for
	// them too. For packets that found no slot others stand already, by their weight.
	lost := func(c *loader.Counters) uint64 { return c.Missed["journey"] + c.Torn }
	a.counts.AddLost(record.Finished, lost(&after)-lost(before))
	a.counts.AddLost(record.Dropped, after.Missed["drop"]-before.Missed["drop"])
	a.counts.AddLost(record.Split, after.Missed["split"]-before.Missed["split"])
	*before = after
	return nil
}

// remember keeps moments for windows that are looked back at, and judges each.
func (a *Agent) remember(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			a.keepUsual()
			return nil
		case now := <-ticker.C:
			if !a.history.due(now) {
				continue
			}
			moment, err := a.moment(a.counts.Brief)
			if err != nil {
				a.options.Log.Error("cannot keep this moment for later", "err", err)
				continue
			}
			a.trends.add(moment.Snapshot.Since(a.history.last().Snapshot))
			a.history.add(moment)
			a.judge(moment)
			if now.Sub(a.verdicts.kept) >= keepUsualEvery { // this goroutine's alone
				a.verdicts.kept = now
				a.keepUsual()
			}
		}
	}
}

// scan tells the aggregator of the journeys that have not ended.
func (a *Agent) scan() error {
	open, _, err := a.loader.Open()
	if err != nil {
		return err
	}
	a.counts.SetHeld(open)
	return nil
}

// Addresses are this namespace's own.
func (a *Agent) Addresses() []netip.Addr { return a.watcher.State().Addresses }

// Snapshot is what was counted since the start.
func (a *Agent) Snapshot() *aggregate.Snapshot { return a.counts.Snapshot() }

// Brief is that without the flows, which are most of it.
func (a *Agent) Brief() *aggregate.Snapshot { return a.counts.Brief() }

// Devices are those traced, with their qdiscs' counters as read now; as known last, where that fails.
func (a *Agent) Devices() []record.Device {
	state, err := a.watcher.Refresh()
	if err != nil {
		state = a.watcher.State()
	}
	return a.traced(state)
}

// traced are the devices of a state that are to be traced.
func (a *Agent) traced(s device.State) []record.Device {
	// That a pattern matches nothing is an error at the start alone: its device may be away.
	devices, _ := device.Match(a.options.Devices, s.Devices)
	return devices
}

// Unnamed is how many records of this node's pods were counted without a name, since none came in time.
func (a *Agent) Unnamed() uint64 { return a.waiting.missed.Load() }

// Early is how many records were named before it was settled who had their addresses, since too many waited.
func (a *Agent) Early() uint64 { return a.waiting.early.Load() }

// Started is when the agent began to trace.
func (a *Agent) Started() time.Time { return a.started }

// LastRead is when the reader of records last came round, with or without any.
func (a *Agent) LastRead() time.Time { return time.Unix(0, a.read.Load()) }

// Loader is the agent's hold on the kernel, for what it says of itself.
func (a *Agent) Loader() *loader.Loader { return a.loader }

// Known are the devices traced as read last, their counters included.
func (a *Agent) Known() []record.Device { return a.traced(a.watcher.State()) }
