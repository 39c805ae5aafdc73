package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tracer/test/steady"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// withoutTCXEnv has this program see a kernel that refuses TCX.
const withoutTCXEnv = "TRACER_TEST_WITHOUT_TCX"

// TestMain lets the test binary be tracer itself, for tests that need a process.
func TestMain(m *testing.M) {
	if os.Getenv(withoutTCXEnv) != "" {
		if err := withoutTCX(); err != nil {
			fmt.Fprintln(os.Stderr, "refuse TCX:", err)
			os.Exit(1)
		}
	}
	if writable := os.Getenv(hardenedEnv); writable != "" {
		runtime.LockOSThread() // what is dropped is this thread's, which the program that follows goes on with
		fmt.Fprintln(os.Stderr, "harden:", runHardened(writable))
		os.Exit(1)
	}
	if pid := os.Getenv(enterEnv); pid != "" {
		if err := enter(pid); err != nil {
			fmt.Print(err)
		}
		os.Exit(0)
	}
	if os.Getenv("TRACER_TEST_RUN") != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
		code := run(ctx)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// tracer is a process of the test binary as tracer, started in the calling thread's network namespace.
func tracer(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "TRACER_TEST_RUN=1")
	return cmd
}

// labName is that of a test's own lab, beside other tests and other runs of them.
func labName(t *testing.T) string {
	h := fnv.New32a()
	fmt.Fprint(h, t.Name(), os.Getpid())
	return "t" + strconv.FormatUint(uint64(h.Sum32()), 36)
}

// inNamespace moves the test to a thread in a network namespace of its own, with an uplink.
func inNamespace(t *testing.T) {
	t.Helper()
	steady.Watch(t)
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	handle, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lo", "eth0", "peer"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
}

// execute runs a command in this process, on this thread.
func execute(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newRootCommand(thisEdition())
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// TestRefuses gives what cannot be used. Each error says what, and what to do about it.
func TestRefuses(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("- {ip: nowhere, workload: web}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(cluster, []byte(`{clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}],
contexts: [{name: a, context: {cluster: a}}], current-context: a}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		want []string // parts of the error
	}{
		{"--log-level loud check", []string{"loud", "choose debug"}},
		{"check -o yaml", []string{"yaml", "choose table or json"}},
		{"check --devices nope*", []string{"nope*", "eth0"}},
		{"check --devices [", []string{"["}},
		{"diagnose --duration 10ms", []string{"10ms", "at least 1s"}},
		{"diagnose --identity-file " + filepath.Join(dir, "none"), []string{"none", "no such file"}},
		{"diagnose --identity-file " + broken, []string{"broken.yaml", "nowhere"}},
		{"trace --once -1", []string{"negative"}},
		{"trace --stage queue>10", []string{"10ms", "      ^"}},
		{"trace --proto telnet", []string{"telnet", "give tcp"}},
		{"diagnose --max-records 0", []string{"--max-records 0", "at least 1"}},
		{"diagnose --max-cpu 0", []string{"--max-cpu 0", "more than 0"}},
		{"agent --max-records 0 --kubeconfig " + cluster, []string{"--max-records 0", "at least 1"}},
		{"agent --max-cpu 0 --kubeconfig " + cluster, []string{"--max-cpu 0", "more than 0"}},
		{"agent --max-series 0", []string{"--max-series 0", "at least 1"}},
		{"agent --listen " + taken.Addr().String(), []string{"address already in use", "choose another address"}},
		{"agent --listen 127.0.0.1:0 --health-listen " + taken.Addr().String(), []string{"health", "choose another address"}},
		{"agent --web.config.file " + filepath.Join(dir, "none"), []string{"web configuration", "none"}},
		{"nonsense", []string{"unknown command"}},
	} {
		args := strings.Fields(test.args)
		if args[0] != "nonsense" && args[0] != "--log-level" {
			args = append(args, "--run-dir", dir)
		}
		_, err := execute(t, args...)
		if err == nil {
			t.Errorf("%s: no error", test.args)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", test.args, err, want)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.lock")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestUnprivileged runs without root.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"diagnose"}, {"top", "--once"}, {"trace"}} {
		cmd := tracer(append(args, "--run-dir", t.TempDir())...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "root") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	out, err := execute(t, "check", "-o", "json", "--devices", "uplink=eth0", "--run-dir", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var r checkReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if !r.OK || !r.BTF || r.Running {
		t.Errorf("%+v", r)
	}
	at := 0
	for _, h := range r.Hooks {
		if h.Device == "eth0" {
			at++
		}
	}
	if at != 2 {
		t.Errorf("%d hooks at eth0, want 2", at)
	}
}

// withoutIPv6 has the test's namespace send nothing by itself: new devices report their IPv6 addresses' groups for seconds.
func withoutIPv6(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAgent starts an agent beside a damaged state, asks it, tries to start a second one, kills the first, and starts
// again.
func TestAgent(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	withoutIPv6(t)
	dir := t.TempDir()
	state := t.TempDir()
	usual := filepath.Join(state, "usual.json")
	if err := os.WriteFile(usual, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	common := []string{"--run-dir", dir, "--devices", "uplink=eth0"}
	var log bytes.Buffer // of an agent that has ended
	start := func() *exec.Cmd {
		cmd := tracer(append([]string{"agent", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0",
			"--state-dir", state, "--expect-qdisc", "eth7=tbf"}, common...)...)
		log.Reset()
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // if the test failed
			_ = cmd.Wait()
		})
		socket := filepath.Join(dir, "agent.sock")
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if conn, err := net.Dial("unix", socket); err == nil {
				conn.Close()
				return cmd
			}
		}
		t.Fatalf("the agent does not answer: %s", log.String())
		return nil
	}
	agent := start()
	out, err := execute(t, append([]string{"diagnose", "-o", "json"}, common...)...)
	var code exitCode
	if !errors.As(err, &code) || code != 3 || !strings.Contains(out, `"no-traffic"`) {
		t.Errorf("diagnose beside the agent: %v, %s", err, out)
	}
	check := func() (string, error) { return execute(t, "diagnose", "--check", "--run-dir", dir) }
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if out, err = check(); err == nil && out == "overlay and uplink are fine\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("check says %q, %v", out, err)
		}
	}
	second := tracer(append([]string{"agent"}, common...)...)
	if text, err := second.CombinedOutput(); err == nil || !strings.Contains(string(text), "another tracer runs in this network namespace") {
		t.Errorf("a second agent: %v, %s", err, text)
	}
	if _, err := execute(t, "cleanup", "--run-dir", dir); err == nil || !strings.Contains(err.Error(), "nothing was removed") {
		t.Errorf("cleanup beside an agent: %v", err)
	}

	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	if out, err := execute(t, "cleanup", "--run-dir", dir); err != nil || !strings.Contains(out, ".sock") {
		t.Errorf("cleanup after a kill: %v, %s", err, out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	agent = start()
	if err := agent.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("an agent that was told to stop: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if data, err := os.ReadFile(usual); err != nil || !strings.Contains(string(data), `"version":1`) {
		t.Errorf("kept %s, %v", data, err)
	}
	if _, err := os.Stat(usual + ".unreadable"); err != nil {
		t.Errorf("the damaged state: %v", err)
	}
	if out := log.String(); !strings.Contains(out, "no such device (yet) for --expect-qdisc") || !strings.Contains(out, "device=eth7") {
		t.Errorf("nothing is said of a wrong --expect-qdisc: %s", out)
	}
}

func TestBracketed(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		":9435": ":9435", "10.0.0.1:9435": "10.0.0.1:9435", "fd00::1:9435": "[fd00::1]:9435", "[fd00::1]:9435": "[fd00::1]:9435", "node": "node",
	} {
		if got := bracketed(address); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}
