package main

import (
	"context"
	"errors"
	"iter"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/loader"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// source answers what diagnose, trace and top ask.
type source interface {
	// Diagnose judges the last window of time.
	Diagnose(ctx context.Context, window time.Duration) (diagnose.Report, error)
	// Traces yields the journeys that match the filter, as they end, until ctx does.
	Traces(ctx context.Context, filter trace.Filter) iter.Seq2[trace.Trace, error]
	// Outcomes are how many journeys came to which end since tracing began, as in the status.
	Outcomes(ctx context.Context) (map[string]uint64, error)
	// Overviews yields one at once and then one for each of the query's intervals, until ctx ends.
	Overviews(ctx context.Context, query overview.Query) iter.Seq2[*overview.Overview, error]
}

// errInterrupted says that a command ended before it had what it was to show.
var errInterrupted = errors.New("interrupted")

// dialAgent is a client of this network namespace's agent, whether one runs or not.
func dialAgent(runDir string) (*api.Client, error) {
	files, err := loader.CurrentFiles(runDir)
	if err != nil {
		return nil, err
	}
	return api.Dial(files.Socket()), nil
}

// withSource calls use with the agent of this network namespace or, where there is none, with a tracer of our own, which
// traces meanwhile: own tells which. The context ends early if that fails.
func (f *tracingFlags) withSource(ctx context.Context, use func(ctx context.Context, s source, own bool) error) error {
	client, err := dialAgent(f.runDir)
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Status(ctx); err == nil {
		return use(ctx, client, false)
	} else if !errors.Is(err, api.ErrNoAgent) {
		return err
	}
	n, err := f.start()
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		err := n.Run(running)
		stop()
		ended <- err
	}()
	err = use(running, n, true)
	stop()
	if failed := <-ended; failed != nil {
		err = failed // what use says is a consequence
	}
	return errors.Join(err, n.Close())
}
