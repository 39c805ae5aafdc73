package loader

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"tracer/internal/netdev"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that deploy/helm/tracer/values-hardened.yaml leaves the agent.
var needed = [...]int{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_SYSLOG, unix.CAP_SYS_RESOURCE}

// runDirEnv has this program attach, instead of testing, with its files in that directory.
const runDirEnv = "TRACER_TEST_ATTACH_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(runDirEnv); dir != "" {
		if err := attachAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attachAll loads the programs, attaches them to the device "wire", and runs the one that is asked about listeners.
func attachAll(dir string) (err error) {
	// As containers have it by default. Where a process may lock enough, no capability is asked for.
	limit := unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	device, err := net.InterfaceByName("wire")
	if err != nil {
		return err
	}
	l, err := New(Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	wire := netdev.Device{Index: device.Index, Name: device.Name, Role: netdev.RoleUplink, Ethernet: true, Leaves: true}
	if err := l.SetDevices([]netdev.Device{wire}, nil); err != nil {
		return err
	}
	hooks, _ := l.Hooks()
	for _, h := range hooks {
		if !h.Up {
			err = errors.Join(err, errors.New(h.Error))
		}
	}
	if len(hooks) < 4 {
		err = errors.Join(err, fmt.Errorf("%d hooks", len(hooks)))
	}
	if _, e := l.Listeners([]ListenTarget{{1, netip.MustParseAddrPort("10.0.0.1:80")}}); e != nil {
		err = errors.Join(err, e)
	}
	var captures []*Capture
	for range maxCaptures {
		c, e := l.Capture(0, false)
		if err = errors.Join(err, e); e == nil {
			captures = append(captures, c)
		}
	}
	if _, e := l.Capture(0, true); e == nil {
		err = errors.Join(err, errors.New("headers are read for as many as ask"))
	}
	for _, c := range captures {
		err = errors.Join(err, c.Close())
	}
	if len(l.symbols.functions.table.Load().entries) == 0 {
		err = errors.Join(err, errors.New("the kernel's addresses are hidden"))
	}
	return err
}

// withCapabilities runs attachAll with no capabilities but those that are said to be enough, less one, and returns what it says.
func withCapabilities(t *testing.T, less int) (said string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if keep(c) && c != less {
			continue
		}
		// EINVAL: one that the kernel does not know.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Fatal(err)
		}
	}
	// Of root it gets what this thread, from which it is started, still may have.
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), runDirEnv+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestCapabilities loads, attaches and asks all with no capabilities but those that are said to be enough.
func TestCapabilities(t *testing.T) {
	inNamespace(t)
	addVeth(t, "wire", netdev.RoleUplink)
	if out, err := withCapabilities(t, -1); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEachCapabilityIsNeeded takes one away after the other. What then fails is said, or is missing.
func TestEachCapabilityIsNeeded(t *testing.T) {
	for _, test := range []struct {
		capability int
		want       string // part of what is said; "" where nothing fails
	}{
		{unix.CAP_BPF, "lacks CAP_BPF: run it"},
		{unix.CAP_PERFMON, "lacks CAP_PERFMON: run it"},
		{unix.CAP_NET_ADMIN, "lacks CAP_NET_ADMIN: run it"},
		{unix.CAP_SYSLOG, "the kernel's addresses are hidden"},
		{unix.CAP_SYS_RESOURCE, lockedMemory(t)},
	} {
		t.Run(strconv.Itoa(test.capability), func(t *testing.T) {
			inNamespace(t)
			addVeth(t, "wire", netdev.RoleUplink)
			out, err := withCapabilities(t, test.capability)
			if (err == nil) != (test.want == "") || !strings.Contains(out, test.want) {
				t.Errorf("without capability %d: %v, %s; want %q", test.capability, err, out, test.want)
			}
		})
	}
}

// lockedMemory is what is said where maps count as locked memory, as they did before 5.11: then the kernel takes no map beyond the
// limit of a process.
func lockedMemory(t *testing.T) string {
	t.Helper()
	var release unix.Utsname
	if err := unix.Uname(&release); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(release.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if major < 5 || major == 5 && minor < 11 {
		return "raise the limit of locked memory"
	}
	return ""
}

func keep(c int) bool {
	for _, n := range needed {
		if c == n {
			return true
		}
	}
	return false
}
