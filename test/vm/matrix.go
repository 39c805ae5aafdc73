package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// matrix runs the job on kernels, some of them at a time. One that fails does not stop the others.
func matrix(ctx context.Context, o options, j job, work string) (int, error) {
	if err := os.MkdirAll(o.logs, 0o755); err != nil {
		return 1, err
	}
	errs := make([]error, len(o.kernels))
	var group errgroup.Group
	group.SetLimit(o.parallel)
	for i, k := range o.kernels {
		group.Go(func() error {
			errs[i] = j.logged(ctx, o, k, work)
			return nil
		})
	}
	_ = group.Wait() // each has its own error, for all are told
	if ctx.Err() != nil {
		return 130, errors.New("interrupted")
	}
	if err := errors.Join(errs...); err != nil {
		return 1, err
	}
	return 0, nil
}

// logged runs the job on a kernel with its output in a file, and shows of it what explains a failure.
func (j job) logged(ctx context.Context, o options, k kernel, work string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := filepath.Join(o.logs, k.id()+".log")
	log, err := os.Create(name)
	if err != nil {
		return err
	}
	r := results{begins: func(pkg string) { say("kernel %s: %s", k.id(), pkg) }}
	err = errors.Join(j.run(ctx, o, k, work, &r, log), log.Close())
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	said := r.output()
	if said == "" {
		whole, readErr := os.ReadFile(name)
		said, err = tail(string(whole), 80), errors.Join(err, readErr)
	}
	say("kernel %s failed; from %s:\n\t%s", k.id(), name, strings.ReplaceAll(said, "\n", "\n\t"))
	return fmt.Errorf("kernel %s: %w", k.id(), err)
}
