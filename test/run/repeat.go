package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"tracer/test/steady"
)

// repeated is a part that runs once more where it failed while the machine stood still.
type repeated struct {
	running
	ctx   context.Context
	name  string
	stall func() (steady.Stall, error) // of the machine, until now
	again func() (running, error)
	print io.Writer
}

// start starts a part.
func start(ctx context.Context, p part, w io.Writer) (running, error) {
	if !p.again {
		return startOnce(ctx, p, w)
	}
	watcher, err := steady.Start()
	if err != nil {
		return nil, err
	}
	r, err := startOnce(ctx, p, w)
	if err != nil {
		_, _ = watcher.Stop()
		return nil, err
	}
	return &repeated{running: r, ctx: ctx, name: p.name, print: w, stall: watcher.Stop, again: func() (running, error) {
		if err := os.Rename(logOf(p.name), logOf(p.name+"-1")); err != nil {
			return nil, err
		}
		return startOnce(ctx, p, w)
	}}, nil
}

// logOf is where a part's output goes.
func logOf(name string) string { return filepath.Join(logs, name+".log") }

func (r *repeated) wait() (counts, error) {
	c, err := r.running.wait()
	stall, watchErr := r.stall()
	if err == nil || watchErr != nil || !stall.StoodStill() || r.ctx.Err() != nil || errors.Is(err, errHangs) {
		return c, errors.Join(err, watchErr)
	}
	fmt.Fprintf(r.print, "== %s %s failed (%v) and runs again, as a thread woke up %v late and %.0f %% of CPU time was stolen; its output is in %s\n",
		time.Now().Format(time.TimeOnly), r.name, err, stall.Late.Round(time.Millisecond), 100*stall.Steal, logOf(r.name+"-1"))
	next, againErr := r.again()
	if againErr != nil {
		return c, errors.Join(err, againErr)
	}
	c, err = next.wait()
	c.reruns++
	return c, err
}
