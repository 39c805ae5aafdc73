package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/device"
	"tracer/internal/namespace"
)

// enterEnv has this program enter the network namespace of that process, and say whether it could.
const enterEnv = "TRACER_TEST_ENTER"

func enter(pid string) error {
	var st unix.Stat_t
	path := "/proc/" + pid + "/ns/net"
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("find its namespace: %w", err)
	}
	files := device.NetnsFiles{Patterns: []string{path}}
	handle, err := files.Open(st.Ino)
	if err != nil {
		return err
	}
	defer handle.Close()
	return namespace.Do(handle, func() error { return nil })
}

// TestEnteringPods takes the capabilities away, one after the other, that entering a pod's network namespace takes: values.yaml has
// them by "privileged", values-hardened.yaml has not.
func TestEnteringPods(t *testing.T) {
	pod := exec.Command("sleep", "600")
	pod.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: unix.SIGKILL,
	}
	runtime.LockOSThread() // the one whose end ends the pod
	defer runtime.UnlockOSThread()
	if err := pod.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pod.Process.Kill(); _ = pod.Wait() })
	hardened := hardenedCapabilities()
	for _, test := range []struct {
		has  []int
		want string // part of what is said; "" if it can
	}{
		{append(slices.Clone(hardened), unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE), ""},
		{append(slices.Clone(hardened), unix.CAP_SYS_ADMIN), "namespace: permission denied"},
		{append(slices.Clone(hardened), unix.CAP_SYS_PTRACE), "it takes CAP_SYS_ADMIN"},
		{hardened, "namespace: permission denied"},
	} {
		said := runWith(t, test.has, enterEnv+"="+fmt.Sprint(pod.Process.Pid))
		if test.want == "" && said != "" || !strings.Contains(said, test.want) {
			t.Errorf("with capabilities %v: %q, want %q", test.has, said, test.want)
		}
	}
}

// runWith runs this program with no capabilities but those, and returns what it prints.
func runWith(t *testing.T, capabilities []int, environment string) string {
	t.Helper()
	said := make(chan string)
	go func() {
		runtime.LockOSThread() // for good: of root, the program gets what this thread still may have
		for c := range unix.CAP_LAST_CAP + 1 {
			if slices.Contains(capabilities, c) {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				said <- err.Error()
				return
			}
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), environment)
		out, err := cmd.CombinedOutput()
		if err != nil {
			out = append(out, err.Error()...)
		}
		said <- string(out)
	}()
	return <-said
}
