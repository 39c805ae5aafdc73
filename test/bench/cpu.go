package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time of the calling thread: it stands still while another one runs.
func threadTime() time.Duration {
	var t unix.Timespec
	// It fails only for a clock that does not exist.
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// ends are the first and the last CPU that this process may use.
func ends() (first, last int, err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return 0, 0, fmt.Errorf("read the CPUs that may be used: %w", err)
	}
	first = -1
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			if first < 0 {
				first = cpu
			}
			last = cpu
		}
	}
	return first, last, nil
}

// pin keeps the calling goroutine on a CPU until it ends, and its thread with it.
func pin(cpu int) error {
	runtime.LockOSThread()
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("stay on CPU %d: %w", cpu, err)
	}
	return nil
}

// stayOnOneCPU keeps the calling thread on the last CPU that it may use; the first has more interrupts.
func stayOnOneCPU() (release func(), err error) {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("read the CPUs that may be used: %w", err)
	}
	_, last, err := ends()
	if err != nil {
		return nil, err
	}
	one.Set(last)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, fmt.Errorf("stay on one CPU: %w", err)
	}
	return func() { _ = unix.SchedSetaffinity(0, &allowed) }, nil
}
