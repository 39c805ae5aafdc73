package agent

import (
	"context"
	"errors"
	"time"

	"tracer/internal/loader"
	"tracer/internal/record"
)

const (
	// pollEvery is how often the programs' maps and listening sockets' queues are read.
	pollEvery = time.Second
	// retryEvery is how often hooks that failed, or were put off, are tried again.
	retryEvery = 5 * time.Second
)

// pollKernel reads what the programs do not send.
func (a *Agent) pollKernel(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var before loader.Counters
	lastRetry, lastMend := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			a.failures.maps.Done(errors.Join(a.readMaps(&before), a.readPodEnds()))
			a.failures.acceptQueues.Done(a.readListeners())
			a.conntrack.tell(a.counts)
			a.failures.pods.Done(a.loader.SetPods(a.lateNames.LocalPods()))
			if now.Sub(lastMend) >= mendEvery && !a.options.leaveHooks {
				lastMend = now
				a.failures.hooks.Done(a.mendHooks())
			}
			if now.Sub(lastRetry) >= retryEvery {
				lastRetry = now
				a.failures.devices.Done(a.setDevices())
			}
		}
	}
}

// pollRules reads the rules of netfilter where these lose packets. Many of them take seconds, for which nothing else is to wait.
func (a *Agent) pollRules(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			a.readRules(false)
		}
	}
}

// readMaps reads the open journeys, and how many records were missed since before.
func (a *Agent) readMaps(before *loader.Counters) error {
	if err := a.readOpenJourneys(); err != nil {
		return err
	}
	after, err := a.loader.Counters()
	if err != nil {
		return err
	}
	// Journeys whose slot was torn are missed as are records that did not fit into the ring buffer: those that were read
	// stand for them too. For packets that found no slot others stand already, by their weight.
	missed := func(c *loader.Counters) uint64 { return c.Missed["journey"] + c.Torn }
	a.counts.AddMissed(record.Finished, missed(&after)-missed(before))
	a.counts.AddMissed(record.Dropped, after.Missed["drop"]-before.Missed["drop"])
	a.counts.AddMissed(record.Split, after.Missed["split"]-before.Missed["split"])
	a.counts.AddMissed(record.Requested, after.Missed["request"]-before.Missed["request"])
	*before = after
	return nil
}

// readOpenJourneys tells the aggregator of the journeys that have not ended.
func (a *Agent) readOpenJourneys() error {
	open, err := a.loader.OpenJourneys()
	if err != nil {
		return err
	}
	a.counts.SetInFlight(open)
	return nil
}
