package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/export/api"
)

// hardenedEnv has this program give up, before all else, what deploy/helm/tracer/values-hardened.yaml leaves it not. Its value are the
// directories that stay writable.
const hardenedEnv = "TRACER_TEST_HARDENED"

// hardenedCapabilities are those of values-hardened.yaml.
func hardenedCapabilities() []int {
	return []int{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_SYSLOG, unix.CAP_SYS_RESOURCE}
}

// harden makes the root read-only, drops capabilities, rules out new privileges, and refuses the system calls that container runtimes
// refuse by default (RuntimeDefault) who has no CAP_SYS_ADMIN. The process has a mount namespace of its own.
func harden(writable []string) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range writable {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := readOnly(writable); err != nil {
		return err
	}
	if err := os.WriteFile("/tmp/hardened", nil, 0o600); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("the root is not read-only: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return refuseSystemCalls()
}

// readOnly makes all file systems read-only but for those directories.
func readOnly(but []string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		point := strings.Fields(line)[1]
		stays := point == "/proc" || strings.HasPrefix(point, "/proc/") // a container has its own
		for _, dir := range but {
			stays = stays || point == dir
		}
		if stays {
			continue
		}
		var st unix.Statfs_t
		if err := unix.Statfs(point, &st); err != nil {
			continue // hidden by another mount
		}
		locked := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
		if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|locked, ""); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("make %s read-only: %w", point, err)
		}
	}
	return nil
}

// refuseSystemCalls refuses what the default profiles of containerd, CRI-O and Docker have in common without CAP_SYS_ADMIN. bpf is
// among what they allow with CAP_BPF; older releases of theirs, that do not know the capability, refuse it (docs/SECURITY.md).
func refuseSystemCalls() error {
	numbers := []uint32{
		unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_ADJTIMEX, unix.SYS_CHROOT, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME, unix.SYS_DELETE_MODULE,
		unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK,
		unix.SYS_GET_MEMPOLICY, unix.SYS_INIT_MODULE, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP, unix.SYS_KCMP,
		unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MBIND, unix.SYS_MIGRATE_PAGES,
		unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_MOVE_PAGES, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_NFSSERVCTL,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_OPEN_TREE, unix.SYS_PIDFD_GETFD, unix.SYS_PIVOT_ROOT, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_VM_READV,
		unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PTRACE, unix.SYS_QUOTACTL, unix.SYS_REBOOT, unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME,
		unix.SYS_SETHOSTNAME, unix.SYS_SETNS, unix.SYS_SETTIMEOFDAY, unix.SYS_SET_MEMPOLICY, unix.SYS_SWAPOFF, unix.SYS_SWAPON,
		unix.SYS_UMOUNT2, unix.SYS_UNSHARE, unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
	}
	program := []unix.SockFilter{loadWord(seccompNumber)}
	for i, n := range numbers {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: n, Jt: uint8(len(numbers) - i)})
	}
	return seccompFilter(append(program, allow(), refuseBy(unix.EPERM)))
}

// TestHardened lives as the agent does with values-hardened.yaml: these capabilities, a read-only root but for its two directories, no new
// privileges, the runtime's system calls.
func TestHardened(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	run, state := t.TempDir(), t.TempDir()
	for c := range unix.CAP_LAST_CAP + 1 {
		keep := c == unix.CAP_SYS_ADMIN || c == unix.CAP_SETPCAP // given up below
		for _, n := range hardenedCapabilities() {
			keep = keep || c == n
		}
		if keep {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Fatal(err)
		}
	}
	agent := tracer("agent", "--run-dir", run, "--state-dir", state, "--devices", "uplink=eth0", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0")
	agent.Env = append(agent.Env, hardenedEnv+"="+run+":"+state)
	agent.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	var log bytes.Buffer
	agent.Stderr = &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Wait() }()
	t.Cleanup(func() { _ = agent.Process.Kill() })
	socket := filepath.Join(run, "agent.sock")
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the agent ended: %v: %s", err, &log)
		default:
		}
		if time.Now().After(end) {
			_ = agent.Process.Kill()
			t.Fatalf("the agent does not answer: %v", err)
		}
	}
	client := api.Dial(socket)
	defer client.Close()
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range status.Hooks {
		if !h.Up {
			t.Errorf("hook %s %s is down: %s", h.Hook, h.Device, h.Error)
		}
	}
	has := effectiveCapabilities(t, agent.Process.Pid)
	want := uint64(0)
	for _, c := range hardenedCapabilities() {
		want |= 1 << c
	}
	if has&^want != 0 {
		t.Errorf("the agent has capabilities %x, want no more than %x", has, want)
	}
	if err := agent.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("%v: %s", err, &log)
	}
	if strings.Contains(log.String(), "level=ERROR") || strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the agent complains:\n%s", &log)
	}
	if _, err := os.Stat(filepath.Join(state, "usual.json")); err != nil {
		t.Errorf("what was learned is not kept: %v", err)
	}
}

// effectiveCapabilities are those of a process.
func effectiveCapabilities(t *testing.T, pid int) (set uint64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "CapEff: %x", &set); err == nil {
			return set
		}
	}
	t.Fatal("no capabilities in the status")
	return 0
}

// runHardened hardens and becomes the agent, by exec: capabilities of the bounding set are given to none before.
func runHardened(writable string) error {
	if err := harden(strings.Split(writable, ":")); err != nil {
		return err
	}
	for _, c := range []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
	if err := os.Unsetenv(hardenedEnv); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}
