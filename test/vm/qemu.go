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

	"github.com/prometheus/procfs"
)

// board is what differs between emulated computers of two architectures.
type board struct {
	qemu    string
	console string   // the kernel's name for the device of its messages
	port    string   // and for that which carries what the job prints
	serial  []string // of qemu, for the port; it is the one with a chardev "job"
	model   []string // machine and CPU
	boot    []string // for the kernel
}

var boards = map[string]board{
	"amd64": {
		qemu: "qemu-system-x86_64", console: "ttyS0", port: "ttyS1", serial: []string{"-serial", "chardev:job"},
		// Five-level page tables only cost. A CPU that says it is quick at them (erms, fsrm) has the kernel copy by
		// instructions that are emulated byte by byte: the BPF verifier, which copies its state at each branch, then takes
		// twice as long.
		model: []string{"-cpu", "max,la57=off,erms=off,fsrm=off"},
		boot:  []string{"mitigations=off", "tsc=reliable", "no_timer_check"},
	},
	"arm64": {
		qemu: "qemu-system-aarch64", console: "ttyAMA0", port: "ttyS0", serial: []string{"-device", "pci-serial,chardev=job"},
		// What signs pointers takes an emulated machine long.
		model: []string{"-machine", "virt", "-cpu", "max,pauth=off,sve=off"},
		boot:  []string{"mitigations=off"},
	},
}

// machine is an emulated computer.
type machine struct {
	board             board
	kernel, initramfs string
	console           string // file for the kernel's messages; none: the caller's terminal
	memory            int    // MiB
	cpuLater          bool   // the kernel brings its second CPU up when init says so, not at boot
	joined            *joined
}

// command is the qemu that is the machine. It ends with the calling process or, sooner, with ctx.
func (m machine) command(ctx context.Context) *exec.Cmd {
	boot := append([]string{
		"console=" + m.board.console, "panic=-1", "oops=panic", "nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1",
		"random.trust_cpu=on", "init_on_alloc=0", "hardened_usercopy=off", "kfence.sample_interval=0", "cryptomgr.notests=1",
		"damon_stat.enabled=0", // which looks through all memory again and again, from 6.17 on
		// What the kernel does not know is a variable of init's.
		"console_device=" + m.board.console, "job_device=" + m.board.port,
	}, m.board.boot...)
	if m.cpuLater {
		boot = append(boot, "maxcpus=1")
	}
	if m.joined != nil {
		boot = append(boot, m.joined.clock)
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		// Emulated: nested KVM hangs on some machines, and without it a guest is the same everywhere. With
		// thread=multi 5.10's text patching races (int3) once in a hundred boots, at no gain.
		"-accel", "tcg,thread=single,tb-size=128",
		// The guest has two CPUs even so: with one, delays are distorted by whoever holds it.
		"-smp", "2", "-m", fmt.Sprint(m.memory),
		"-kernel", m.kernel, "-initrd", m.initramfs,
		"-append", strings.Join(boot, " "),
	}
	args = append(args, m.board.model...)
	if m.console == "" {
		args = append(args, "-serial", "mon:stdio")
	} else {
		args = append(args, "-serial", "file:"+m.console)
	}
	if m.joined != nil {
		args = append(args, m.joined.args()...)
	} else {
		args = append(args, m.aloneArgs()...)
	}
	cmd := exec.CommandContext(ctx, m.board.qemu, args...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// aloneArgs are those of a machine that has no other beside it.
func (m machine) aloneArgs() []string {
	icount := "shift=1,sleep=off"
	if m.console == "" {
		icount = "shift=1" // whoever sits at a terminal wants to see time pass
	}
	args := []string{
		// Virtual time: the guest's clock goes on by 2 ns for each instruction, and jumps to the next timer when nobody has
		// anything to do. A delay of 50 ms is 50 ms however busy this machine is. With 4 ns the guest's CPU is so slow that
		// starting a tracer takes long by its clock.
		"-icount", icount,
		// A network card whose driver frees what it has sent by kfree_skb, as if it were lost. Its wire leads nowhere.
		"-netdev", "user,id=wire,restrict=on", "-device", "vmxnet3,netdev=wire",
		// Two more, joined by a hub: what one sends comes to the other, which counts what its ring had no room for. The hub's third
		// port waits for a connection that nobody makes: without one qemu complains.
		"-netdev", "socket,id=nowhere,listen=127.0.0.1:0", "-netdev", "hubport,id=third,hubid=1,netdev=nowhere",
		"-netdev", "hubport,id=left,hubid=1", "-device", "vmxnet3,netdev=left",
		"-netdev", "hubport,id=right,hubid=1", "-device", "vmxnet3,netdev=right",
	}
	if m.console != "" {
		args = append(args, "-chardev", "stdio,id=job,signal=off")
		args = append(args, m.board.serial...)
	}
	return args
}

// How much CPU time a guest that lives may take while its kernel says nothing, however long it has to wait for that, and how long it may
// wait. Init has it say something every 20 s of the guest's time, which cost an emulated machine less than a minute.
const (
	silence     = 10 * time.Minute
	longSilence = 2 * time.Hour
)

// errHung is that a guest has been silent for longer.
var errHung = fmt.Errorf("the guest hangs: its kernel has said nothing for %v of CPU time, or for %v", silence, longSilence)

// run runs the machine until it switches itself off, and reads what its job prints. It tells how much CPU time that
// took.
func (m machine) run(ctx context.Context, read func(io.Reader) error) (cpu time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := m.command(ctx)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, startError(err)
	}
	go func() {
		if m.hangs(ctx, cpuTime(cmd.Process.Pid), silence, time.Second) {
			cancel(errHung)
		}
	}()
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

// hangs waits until nothing has come to the console for so much of the CPU time that was spent, or ctx ends, which is no hanging.
func (m machine) hangs(ctx context.Context, spent func() time.Duration, silence, interval time.Duration) bool {
	var size int64
	for last, since := spent(), time.Now(); spent()-last < silence && time.Since(since) < longSilence; {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(interval):
		}
		if info, err := os.Stat(m.console); err == nil && info.Size() != size {
			size, last, since = info.Size(), spent(), time.Now()
		}
	}
	return true
}

// cpuTime tells how much a process has taken until now; when it has ended, 0.
func cpuTime(pid int) func() time.Duration {
	return func() time.Duration {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return 0
		}
		stat, err := p.Stat()
		if err != nil {
			return 0
		}
		return time.Duration(stat.CPUTime() * float64(time.Second))
	}
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
