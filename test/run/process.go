package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is a part that runs.
type process struct {
	part
	cmd *exec.Cmd
	log *os.File
	// shown is where its output goes while it runs; what runs beside shows the end of it then.
	shown io.Writer
	once  sync.Once
	stop  context.CancelFunc
	ctx   context.Context
}

// partLimit is how long a part may take: what takes longer hangs. The matrix of kernels takes 55 min of CPU time; beside a busy loop, and
// last in turn, it waits for that as long again.
const partLimit = 3 * time.Hour

var errHangs = fmt.Errorf("not done within %v", partLimit)

// grace is how long parts have to end when they are interrupted.
const grace = 30 * time.Second

// niceness of what runs beside.
const niceness = 19

// startOnce starts a part, in a process group of its own.
func startOnce(ctx context.Context, p part, w io.Writer) (running, error) {
	log, err := os.Create(logOf(p.name))
	if err != nil {
		return nil, err
	}
	r := &process{part: p, log: log, shown: w}
	json := r.json()
	if err := os.RemoveAll(json); err != nil {
		return nil, err
	}
	if json, err = filepath.Abs(json); err != nil {
		return nil, err
	}
	ctx, r.stop = context.WithTimeoutCause(ctx, partLimit, errHangs)
	r.cmd = exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", p.script)
	r.ctx = ctx
	r.cmd.Env = append(os.Environ(), "JSON="+json)
	r.cmd.Stdout = log
	if !p.beside {
		r.cmd.Stdout = io.MultiWriter(log, w)
	}
	r.cmd.Stderr = r.cmd.Stdout
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Cancel = func() error { return syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT) }
	r.cmd.WaitDelay = grace
	if err := r.cmd.Start(); err != nil {
		r.stop()
		return nil, errors.Join(err, log.Close())
	}
	if p.beside {
		_ = syscall.Setpriority(syscall.PRIO_PGRP, r.cmd.Process.Pid, niceness) // or it has just ended
	}
	return r, nil
}

func (r *process) json() string { return filepath.Join(logs, r.name+".json") }

// hurry gives it the priority of what others wait for.
func (r *process) hurry() {
	r.once.Do(func() {
		if r.beside {
			_ = syscall.Setpriority(syscall.PRIO_PGRP, r.cmd.Process.Pid, 0) // or it has just ended
		}
	})
}

func (r *process) wait() (counts, error) {
	err := r.cmd.Wait()
	if r.ctx.Err() != nil {
		err = errors.Join(err, context.Cause(r.ctx))
	}
	r.stop()
	if r.cmd.ProcessState != nil {
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // whatever has stayed behind
	}
	err = errors.Join(err, r.log.Close())
	text, readErr := os.ReadFile(r.log.Name())
	events, eventsErr := os.ReadFile(r.json())
	if errors.Is(eventsErr, os.ErrNotExist) {
		eventsErr = nil
	}
	if r.beside {
		lines := 15
		if err != nil {
			lines = 100
		}
		fmt.Fprintf(r.shown, "%s", lastLines(text, lines))
	}
	return count(events, text), errors.Join(err, readErr, eventsErr)
}

// lastLines are so many lines at the end.
func lastLines(text []byte, n int) []byte {
	lines := bytes.SplitAfter(bytes.TrimRight(text, "\n"), []byte("\n"))
	end := bytes.Join(lines[max(0, len(lines)-n):], nil)
	if len(end) > 0 {
		end = append(end, '\n')
	}
	return end
}
