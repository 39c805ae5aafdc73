package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// keep makes a directory of the cache, if it is not there: fill does, in a directory for its work, and what it leaves in done
// comes to its place in one step, so that an interrupted run leaves nothing that looks complete. What such a run has left in work is there
// for the next one.
func keep(ctx context.Context, dir string, fill func(work, done string) error) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	work := dir + ".part"
	done := filepath.Join(work, "done")
	if err := os.RemoveAll(done); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	if err := fill(work, done); err != nil {
		return err
	}
	if err := os.Rename(done, dir); err != nil {
		return err
	}
	return os.RemoveAll(work)
}

// lock waits until nobody else uses what the file stands for, and says so.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for said := false; ; said = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if !said {
			say("waiting for %s, which another holds", name)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for %s: %w", name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
