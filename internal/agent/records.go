package agent

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/loader"
	"tracer/internal/record"
)

// readRecords takes what the programs send.
func (a *Agent) readRecords(ctx context.Context) error {
	return a.loader.Run(ctx, func(batch []record.Record) {
		a.read.Store(time.Now().UnixNano())
		// The loader may be closed before it has handed over the last records.
		if err := a.adaptSampling(batch); !errors.Is(err, unix.EBADF) {
			a.failures.sampling.Done(err)
		}
		a.own.learn(batch, a.lateNames.IsLocalPod)
		if err := a.tellOwnAddresses(); !errors.Is(err, unix.EBADF) {
			a.failures.own.Done(err)
		}
		a.listenTargets.add(batch, a.lateNames.IsPod)
		a.missent.mark(batch)
		a.routeLookups.add(batch)
		a.netfilter.add(batch, a.lateNames.IsPod)
		a.lateNames.Add(batch, loader.Monotonic())
		waiting, err := a.watchConnections(batch, time.Now())
		if !errors.Is(err, unix.EBADF) {
			a.failures.watched.Done(err)
		}
		if len(waiting) > 0 {
			a.lateNames.Add(waiting, loader.Monotonic())
		}
	})
}

// add counts records that need not wait for names, or no longer, and passes them on.
func (a *Agent) add(batch []record.Record) {
	a.counts.AddAll(batch)
	if a.options.observed != nil {
		a.options.observed(batch)
	}
	a.subscribers.publish(batch)
}

// answerMissent asks the kernel what the reading of records would wait for.
func (a *Agent) answerMissent(ctx context.Context) error {
	a.missent.answer(ctx, a.routeLookups.tables)
	return nil
}
