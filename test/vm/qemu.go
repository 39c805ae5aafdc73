package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// machine is an emulated computer.
type machine struct {
	kernel, initramfs string
	console           string // file for the kernel's messages; none: the caller's terminal
	memory            int    // MiB
}

// command is the qemu that is the machine. It ends with the calling process or, sooner, with ctx.
func (m machine) command(ctx context.Context) *exec.Cmd {
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		// Emulated: nested KVM hangs on some machines, and without it a guest is the same everywhere. With
		// thread=multi 5.10's text patching races (int3) once in a hundred boots, at no gain.
		"-accel", "tcg,thread=single",
		// The guest has two CPUs even so: with one, delays are distorted by whoever holds it. Five-level page tables
		// only cost. A CPU that says it is quick at them (erms, fsrm) has the kernel copy by instructions that are
		// emulated byte by byte: the BPF verifier, which copies its state at each branch, then takes twice as long.
		"-cpu", "max,la57=off,erms=off,fsrm=off", "-smp", "2", "-m", fmt.Sprint(m.memory),
		"-kernel", m.kernel, "-initrd", m.initramfs,
		"-append", strings.Join([]string{
			"console=ttyS0", "panic=-1", "oops=panic", "mitigations=off", "nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1",
			"tsc=reliable", "no_timer_check", "random.trust_cpu=on", "init_on_alloc=0", "hardened_usercopy=off",
			"kfence.sample_interval=0", "cryptomgr.notests=1",
		}, " "),
	}
	if m.console == "" {
		args = append(args, "-serial", "mon:stdio")
	} else {
		args = append(args, "-serial", "file:"+m.console, "-chardev", "stdio,id=job,signal=off", "-serial", "chardev:job")
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs the machine until it switches itself off, and reads what its job prints. It tells how much CPU time that
// took.
func (m machine) run(ctx context.Context, read func(io.Reader) error) (cpu time.Duration, err error) {
	cmd := m.command(ctx)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, startError(err)
	}
	readErr := read(out)
	err = cmd.Wait()
	if s := cmd.ProcessState; s != nil {
		cpu = s.UserTime() + s.SystemTime()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cpu, cause
		}
		return cpu, fmt.Errorf("qemu: %w", err)
	}
	return cpu, readErr
}

// shell lets the caller's terminal have the machine.
func (m machine) shell(ctx context.Context) error {
	cmd := m.command(ctx)
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	if err := cmd.Run(); err != nil {
		return startError(err)
	}
	return nil
}

func startError(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: run hack/install-packages guest", err)
	}
	return fmt.Errorf("qemu: %w", err)
}
