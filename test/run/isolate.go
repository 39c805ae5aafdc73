package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"tracer/test/cgroup"
)

// stage says which of the processes we are: the caller's, the first in the namespaces, or the one that runs the tests there.
const (
	stage       = "TRACER_TEST_STAGE"
	firstInside = "first"
	runsTests   = "tests"
)

// isolate runs this program again in namespaces for mounts and processes. Named network namespaces are mounts, and whatever
// runs is a process: the kernel takes all of it away with the first process, however that ends.
func isolate() int {
	runtime.LockOSThread() // or the signal for our end would come with the thread's
	cmd := again(firstInside)
	name, err := cgroup.NewRun()
	if err == nil {
		err = cgroup.SweepEnded()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test: cgroups:", err)
		return 1
	}
	cmd.Env = append(cmd.Env, cgroup.Run+"="+name)
	// A group of its own, so that a terminal's Ctrl-C comes once, from here.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC, Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}
	unlock, err := lock()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		return 1
	}
	defer unlock()
	err = makeDirectories()
	defer os.RemoveAll("build/.tmp")
	if err == nil {
		err = cmd.Start()
	}
	if errors.Is(err, os.ErrPermission) {
		fmt.Fprintln(os.Stderr, "test: this root may not make namespaces: leave the container, or give it all rights (docker run --privileged)")
		return 1
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test: start in namespaces of its own:", err)
		return 1
	}
	forward(cmd.Process)
	err = cmd.Wait()
	if err := cgroup.Sweep(name); err != nil {
		fmt.Fprintln(os.Stderr, "test: remove what tests have left:", err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(1, exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test: wait for the tests:", err)
		return 1
	}
	return 0
}

// lock says so where another run is in this checkout, whose files are ours.
func lock() (unlock func(), err error) {
	if err := os.MkdirAll("build", 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile("build/test.lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("tests already run in this checkout (build/test.lock): %w", err)
	}
	return func() { f.Close() }, nil
}

// again is this program as another stage.
func again(as string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), stage+"="+as)
	return cmd
}

// ends are the signals that end a run, as when its terminal goes. With nohup it stays.
func ends() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// forward passes signals on.
func forward(to *os.Process) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, ends()...)
	go func() {
		for s := range signals {
			_ = to.Signal(s) // or it has just ended
		}
	}()
}

// reap is the first process's work: to start the one that runs the tests, and to take note of the end of those that have
// lost their parents.
func reap() int {
	err := prepareMounts()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test: prepare the namespaces:", err)
		return 1
	}
	cmd := again(runsTests)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		return 1
	}
	forward(cmd.Process)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "test: wait:", err)
			return 1
		case pid == cmd.Process.Pid && status.Exited():
			return status.ExitStatus()
		case pid == cmd.Process.Pid:
			return 1
		}
	}
}

// temporary is TMPDIR to the tests: build/.tmp, whose dot keeps ./... from what is compiled there, by a short name, as names of sockets must be; not in /run, which the test cluster
// covers.
const temporary = "/tmp/tracer-test"

// private are directories that tests and commands write to by fixed names. They get filesystems of their own.
var private = []string{"/run/netns", "/run/tracer", temporary}

// makeDirectories makes what the namespaces' mounts need, and removes from build/.tmp what a run left that was killed. The
// mount points stay, empty: to remove one takes it from another checkout's run, whose mount on it would go as well.
func makeDirectories() error {
	for _, dir := range private {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.RemoveAll("build/.tmp"); err != nil {
		return err
	}
	return os.MkdirAll("build/.tmp", 0o711) // a test asks as another user
}

// prepareMounts makes the new namespaces usable.
func prepareMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, dir := range private[:2] {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := unix.Mount("build/.tmp", temporary, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", temporary, err)
	}
	return os.Setenv("TMPDIR", temporary)
}
