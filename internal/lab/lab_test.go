package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/lab/load"
	"tracer/test/steady"
)

// testOptions are those of a lab that no other test and no other process has.
func testOptions(t *testing.T) Options {
	t.Helper()
	steady.Watch(t)
	h := fnv.New32a()
	fmt.Fprint(h, t.Name(), os.Getpid())
	return Options{Name: "t" + strconv.FormatUint(uint64(h.Sum32()), 36), RunDir: filepath.Join(t.TempDir(), "run")}
}

// up builds a lab that is gone, without a trace, when the test ends.
func up(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := Up(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
		assertGone(t, o)
	})
	return l
}

func assertGone(t *testing.T, o Options) {
	t.Helper()
	if files, err := os.ReadDir(o.RunDir); err != nil || len(files) > 0 {
		t.Errorf("%s holds %v, %v", o.RunDir, files, err)
	}
	left, err := filepath.Glob(filepath.Join(namespaceDir, o.Name+"-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("namespaces are left: %v, %v", left, err)
	}
}

func waitUntil(t *testing.T, limit time.Duration, what string, done func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := poll(ctx, done); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// rootLinks are the devices of this namespace, but for the one that comes with the module of IPIP.
func rootLinks(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		if name := l.Attrs().Name; name != "tunl0" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// isWithin tells whether this process is one that has namespaces of its own. If it is not, the test runs in such a process.
func isWithin(t *testing.T, namespaces uintptr) bool {
	t.Helper()
	const within = "LAB_TEST_WITHIN"
	if os.Getenv(within) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), within+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: namespaces}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v: %s", err, out)
	}
	return false
}

func TestUpRunsItsApplicationInProcesses(t *testing.T) {
	t.Parallel()
	if !isWithin(t, unix.CLONE_NEWNET) { // others make devices in the machine's own
		return
	}
	before := rootLinks(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions(t)
	o.App = []string{exe, "lab-app"}
	l, err := Up(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Remove(o.RunDir, o.Name) }) // an error where the test removed it, as it should

	if again, err := Up(context.Background(), o); err == nil {
		_ = again.Down()
		t.Error("the lab was built twice")
	}
	opened, err := Open(o.RunDir, o.Name)
	if err != nil {
		t.Fatal(err)
	}
	start := load.Monotonic()
	waitUntil(t, 10*time.Second, "load of both kinds", func() (bool, error) {
		r, err := opened.Oracle(start, load.Monotonic())
		return r.Response.Received > 20 && r.TCP.Count > 3, err
	})
	status, err := opened.Status(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if status.Trouble != nil || len(status.Nodes) != 2 || status.Nodes[0].RootQdisc != "noqueue" || status.CallsPerSecond <= 0 {
		t.Errorf("status = %+v", status)
	}
	var requests OneWay
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // its processes have just started, beside others
	defer cancel()
	if err := poll(ctx, func() (bool, error) {
		status, err := opened.Status(time.Now())
		requests = status.Recent.Request
		return requests.Lost == 0 && requests.Delay.P50 > 0 && requests.Delay.P50 <= 0.1, err
	}); err != nil {
		t.Errorf("requests of a healthy lab: %v: %+v", err, requests)
	}
	processes := slices.Clone(l.st.Processes)
	if len(processes) != 2 {
		t.Fatalf("processes = %+v, want a server and a client", processes)
	}
	for _, p := range processes {
		if !p.running() {
			t.Errorf("%+v does not run", p)
		}
	}
	if err := opened.Down(); err != nil {
		t.Error(err)
	}
	for _, p := range processes {
		if p.running() {
			t.Errorf("%+v still runs", p)
		}
	}
	assertGone(t, o)
	if after := rootLinks(t); !slices.Equal(before, after) {
		t.Errorf("links of this namespace: %v, were %v", after, before)
	}
}

func TestEveryAddressIsReached(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Nodes = 3
	o.Pods = []PodSpec{{"cache", "node1"}, {"far", "node3"}}
	l := up(t, o)
	api, _ := l.Pod(API)
	cache, _ := l.Pod("cache")
	far, _ := l.Pod("far")
	listenIn(t, cache, 9000)
	listenIn(t, far, 9000)
	web := func(f func() error) error { p, _ := l.Pod(Web); return p.Do(f) }
	for name, try := range map[string]struct {
		from func(func() error) error
		to   netip.AddrPort
	}{
		"service from pod":          {web, netip.AddrPortFrom(l.Service().Address, l.Service().Port)},
		"service from node":         {l.Node(1).Do, netip.AddrPortFrom(l.Service().Address, l.Service().Port)},
		"service from another node": {l.Node(3).Do, netip.AddrPortFrom(l.Service().Address, l.Service().Port)},
		"overlay":                   {web, netip.AddrPortFrom(far.Address, 9000)},
		"overlay, IPv6":             {web, netip.AddrPortFrom(api.Address6, l.Service().TargetPort)},
		"same node":                 {web, netip.AddrPortFrom(cache.Address, 9000)},
		"same node, IPv6":           {web, netip.AddrPortFrom(cache.Address6, 9000)},
		"node to pod elsewhere":     {l.Node(1).Do, netip.AddrPortFrom(far.Address, 9000)},
	} {
		if err := dial(try.from, try.to); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func listenIn(t *testing.T, pod Pod, port int) {
	t.Helper()
	err := pod.Do(func() error {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
		if err == nil {
			t.Cleanup(func() { listener.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func dial(from func(func() error) error, to netip.AddrPort) error {
	return from(func() error {
		conn, err := net.DialTimeout("tcp", to.String(), 5*time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func TestUpIsUndoneWhenCancelled(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	for _, after := range []time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		l, err := Up(ctx, o)
		cancel()
		if err == nil { // a fast machine
			err = l.Down()
		} else if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		if err != nil {
			t.Errorf("after %v: %v", after, err)
		}
		assertGone(t, o)
	}
}

func TestUpRefusesForeignNamespace(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	foreign := namespaceOf(o.Name, "node2")
	if err := foreign.create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = foreign.remove() })
	setAlias(t, foreign, "somebody else's")
	if l, err := Up(context.Background(), o); err == nil {
		_ = l.Down()
		t.Error("built over a namespace that was there")
	}
	if err := Remove(o.RunDir, o.Name); err == nil {
		t.Error("removed a lab that there is not")
	}
	if !foreign.exists() {
		t.Error("the foreign namespace is gone")
	}
}

func setAlias(t *testing.T, ns Namespace, alias string) {
	t.Helper()
	h, err := ns.handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetAlias(lo, alias)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRemoveHalfBuilt(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(dir string) error{
		"with its state":    func(string) error { return nil },
		"state damaged":     func(dir string) error { return os.WriteFile(filepath.Join(dir, "state.json"), []byte("{"), 0o600) },
		"directory is lost": os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t).withDefaults()
			dir := labDir(o.RunDir, o.Name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			// As if its maker had been killed after the second namespace.
			st := &state{topology: newTopology(o)}
			all := st.namespaces()
			err := errors.Join(st.write(dir), all[0].create(), all[1].create(), lose(dir))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(o.RunDir, o.Name); err == nil {
				t.Error("half a lab was opened")
			}
			if err := Remove(o.RunDir, o.Name); err != nil {
				t.Error(err)
			}
			os.Remove(filepath.Dir(dir)) // of the lost directory's parent nobody knew
			assertGone(t, o)
		})
	}
}

// TestRemoveBesideIP takes a machine on which `ip netns add` is first run while a lab is up.
func TestRemoveBesideIP(t *testing.T) {
	t.Parallel()
	if !isWithin(t, unix.CLONE_NEWNS) {
		return
	}
	for how, name := range map[string]func(Namespace) error{"made": Namespace.create, "adopted": Namespace.adopt} {
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		ours, theirs := Namespace("ours"), Namespace("theirs")
		if err := name(ours); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("ip", "netns", "add", string(theirs)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := ours.remove(); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if ours.exists() || !theirs.exists() {
			t.Errorf("%s: after the removal of %s, it exists: %t, and %s: %t", how, ours, ours.exists(), theirs, theirs.exists())
		}
	}
}

func TestDoReturnsItsThread(t *testing.T) {
	t.Parallel()
	ns := Namespace(testOptions(t).Name + "-do")
	if err := ns.create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.remove(); err != nil {
			t.Error(err)
		}
	})
	want, err := ns.inode()
	if err != nil {
		t.Fatal(err)
	}
	here := threadNamespace(t)
	for range 20 {
		err := ns.Do(func() error {
			if got := threadNamespace(t); got != want {
				t.Errorf("inside: namespace %d, want %d", got, want)
			}
			return fs.ErrInvalid
		})
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Do = %v, want the function's error", err)
		}
		if got := threadNamespace(t); got != here {
			t.Errorf("after Do: namespace %d, want %d", got, here)
		}
	}
}

func threadNamespace(t *testing.T) uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Error(err)
	}
	return st.Ino
}
