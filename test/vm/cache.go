package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// keep makes a directory of the cache, if it is not there: fill does, in a directory for its work, and what it leaves in done
// comes to its place in one step, so that an interrupted run leaves nothing that looks complete.
func keep(dir string, fill func(work, done string) error) error {
	cache, name := filepath.Split(dir)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	left, err := filepath.Glob(dir + ".*.part") // by runs that were killed
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := os.RemoveAll(l); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(cache, name+".*.part")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	done := filepath.Join(work, "done")
	if err := fill(work, done); err != nil {
		return err
	}
	return os.Rename(done, dir)
}

// lock waits until no other run uses what the file stands for.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}
