package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestFullDisk has the agent keep its files where there is no room: it says so, traces, and leaves what was there before whole.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	full := t.TempDir()
	mountHere(t, full, "size=64k,nr_inodes=4")
	const before = `{"version":1,"places":[]}`
	state := filepath.Join(full, "usual.json")
	if err := os.WriteFile(state, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(full, "ballast"), bytes.Repeat([]byte{1}, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	a := startAgent(t, "--state-dir", full)
	if !a.healthy() {
		t.Error("it does not answer")
	}
	if err := a.stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if log := a.log.String(); !strings.Contains(log, "cannot save the learned baseline") || !strings.Contains(log, "no space left on device") {
		t.Errorf("the log does not say that the disk is full: %s", log)
	}
	if got, err := os.ReadFile(state); err != nil || string(got) != before {
		t.Errorf("what was there before is %q, %v", got, err)
	}
	if files, err := os.ReadDir(full); err != nil || len(files) != 2 {
		t.Errorf("left behind: %v, %v", files, err)
	}

	// Without room for its lock and socket it does not start, and says where.
	launchAgent(t, "--run-dir", filepath.Join(full, "run")).refuses("no space left on device", full)
}

// mountHere mounts a tmpfs that the test's thread and what it starts alone see.
func mountHere(t *testing.T, at, options string) {
	t.Helper()
	runtime.LockOSThread() // for good
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// TestNoDescriptors takes the agent's file descriptors away: it says so, goes on, and is well when they come back.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	a := startAgent(t)
	set := func(soft uint64) (before unix.Rlimit) {
		if err := unix.Prlimit(a.Process.Pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
			t.Fatal(err)
		}
		if err := unix.Prlimit(a.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: soft, Max: before.Max}, nil); err != nil {
			t.Fatal(err)
		}
		return before
	}
	before := set(3)
	conn, err := a.dial("metrics") // which nobody can accept
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a.await("a line about it", func() bool { return strings.Contains(a.log.String(), "too many open files") })
	a.await("what it cannot read to be named", func() bool {
		log := a.log.String()
		return strings.Contains(log, "cannot read some of the kernel's counters") || strings.Contains(log, "cannot take a snapshot")
	})
	set(before.Cur)
	a.await("all to be well again", a.healthy)
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

// TestFewDescriptors starts the agent with less than it needs.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	launchAgentUnder(t, "ulimit -n 12").refuses("too many open files")
}

// TestSeccomp has a profile refuse bpf(2) to the agent, which has all capabilities.
func TestSeccomp(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	refuse(t, unix.SYS_BPF)
	launchAgent(t).refuses("a seccomp profile filters its system calls")
}

// refuse has the kernel answer a system call of this thread, and of what it starts, with EPERM.
func refuse(t *testing.T, call uint32) {
	t.Helper()
	runtime.LockOSThread() // for good
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // struct seccomp_data: the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		t.Fatal(err)
	}
}
