package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a part of the application that outlives the process that started it. By the time it is to be stopped the PID
// may belong to another process: the start time and the command line must match too.
type process struct {
	Part    string   `json:"part"`
	PID     int      `json:"pid"`
	Started uint64   `json:"start_time"` // clock ticks after boot, as /proc/<pid>/stat has it
	Args    []string `json:"args"`
	Log     string   `json:"log"`
}

// startProcess starts args inside a namespace, in a session of its own, with its output in a file.
func startProcess(ns Namespace, part string, args []string, log string) (process, error) {
	p := process{Part: part, Args: args, Log: log}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return p, fmt.Errorf("start %s: %w", part, err)
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := ns.Do(cmd.Start); err != nil { // a child begins in its parent thread's namespace
		return p, fmt.Errorf("start %s: %w", part, err)
	}
	p.PID = cmd.Process.Pid
	p.Started, _, err = procStat(p.PID)
	if err != nil {
		err = errors.Join(err, cmd.Process.Kill())
	}
	go func() { _ = cmd.Wait() }() // takes its exit status, should it end before we do
	if err != nil {
		return p, fmt.Errorf("start %s: %w", part, err)
	}
	// The kernel lets us go on a moment before the command line can be read, by which the process is known.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = poll(ctx, func() (bool, error) { return p.running() || !p.exists(), nil })
	return p, nil
}

// exists tells whether there is still a process of that number and start time.
func (p process) exists() bool {
	started, state, err := procStat(p.PID)
	return err == nil && started == p.Started && state != 'Z' && state != 'X'
}

// running tells whether the process is still there and still itself.
func (p process) running() bool {
	if !p.exists() {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil {
		return false
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	return slices.Equal(args, p.Args)
}

// stop ends the process, by force after grace.
func (p process) stop(grace time.Duration) error {
	// The handle is a pidfd: once running has vouched for it, a signal reaches that process or none.
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return fmt.Errorf("stop %s: %w", p.Part, err)
	}
	defer func() { _ = handle.Release() }()
	if !p.running() {
		return nil
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop %s, process %d: %w", p.Part, p.PID, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		err := poll(ctx, func() (bool, error) { return !p.running(), nil })
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("stop %s: process %d does not end", p.Part, p.PID)
}

// procStat reads a process's start time in ticks and its state's letter.
func procStat(pid int) (started uint64, state byte, err error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	// The name stands in parentheses and may hold anything; field 3 follows the last of them.
	i := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[i+1:]))
	const startTime = 22 - 3
	if i < 0 || len(fields) <= startTime {
		return 0, 0, fmt.Errorf("process %d: strange stat %q", pid, data)
	}
	started, err = strconv.ParseUint(fields[startTime], 10, 64)
	return started, fields[0][0], err
}

// poll waits for a condition until ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
