//go:build !nolab

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/overview"
	"tracer/internal/trace"
	"tracer/test/steady"
	"tracer/test/terminal"
)

// bench is a lab with a fault on, for commands that are started on its first node.
type bench struct {
	*testing.T
	name, dir, exe string
}

func newBench(t *testing.T, name string) *bench {
	t.Helper()
	steady.Watch(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name += strconv.FormatInt(int64(os.Getpid()), 36) // beside another run of the tests
	b := &bench{T: t, name: name, dir: t.TempDir(), exe: exe}
	b.lab("up")
	t.Cleanup(func() { b.lab("down") })
	b.lab("fault", "--delay", "200ms", "--loss", "25%") // without netem a rate that much below the load: the queue fills with less of a CPU too
	b.awaitDelay()
	return b
}

// awaitDelay waits until packets are late by the load's own clock: a queue takes its time to fill, where the load gets little of a CPU.
func (b *bench) awaitDelay() {
	b.Helper()
	l, err := lab.Open(b.dir, b.name)
	if err != nil {
		b.Fatal(err)
	}
	var seen lab.Report
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if seen, err = l.Recent(time.Second, load.Monotonic()); err != nil {
			b.Fatal(err)
		}
		if seen.Request.Delay.P50 > 0.15 {
			return
		}
	}
	b.Fatalf("the load does not meet the fault: %+v", seen.Request)
}

func (b *bench) lab(args ...string) {
	b.Helper()
	cmd := tracer(append(append([]string{"lab"}, args...), "--name", b.name, "--run-dir", b.dir)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("lab %v: %v: %s", args, err, out)
	}
}

// line is a command line of tracer on the first node.
func (b *bench) line(args ...string) []string {
	return append(append([]string{"ip", "netns", "exec", b.name + "-node1", b.exe}, args...), "--run-dir", b.dir)
}

func (b *bench) command(args ...string) *exec.Cmd {
	line := b.line(args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "TRACER_TEST_RUN=1")
	return cmd
}

func (b *bench) output(args ...string) string {
	b.Helper()
	cmd := b.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v: %v: %s%s", args, err, out, stderr.Bytes())
	}
	return string(out)
}

// agent starts an agent and waits until it answers. The test may stop it before its end.
func (b *bench) agent() (stop func()) {
	b.Helper()
	cmd := b.command("agent", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--state-dir", b.dir)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(unix.SIGTERM)
			_ = cmd.Wait()
		}
	}
	b.Cleanup(stop)
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(b.dir, "agent.sock")); err == nil {
			return stop
		}
	}
	b.Fatalf("the agent does not answer: %s", log.String())
	return nil
}

// affected waits until the agent has seen enough of the fault, and returns what top prints then.
func (b *bench) affected() (o overview.Overview) {
	b.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		o = overview.Overview{}
		if err := json.Unmarshal([]byte(b.output("top", "--once", "-o", "json")), &o); err != nil {
			b.Fatal(err)
		}
		// A load without CPU fills no queue.
		if o.Verdict == diagnose.Fault && len(o.Rows) > 0 && o.Rows[0].Drops.Packets > 0 && o.Rows[0].Path != nil && o.Rows[0].Path.P50 >= 0.1 {
			return o
		}
	}
	b.Fatalf("top does not see the fault: %+v", o)
	return o
}

// TestTopOnce finds the affected pair first, from an agent and without one, and the drops.
func TestTopOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, "o")
	var own overview.Overview
	steady.Repeat(t, func() string {
		own = overview.Overview{}
		if err := json.Unmarshal([]byte(b.output("top", "--once", "-o", "json", "--interval", "3s")), &own); err != nil {
			t.Fatal(err)
		}
		// A load without CPU fills no queue.
		if len(own.Rows) == 0 || own.Rows[0].Path == nil || own.Rows[0].Path.P50 < 0.1 {
			return fmt.Sprintf("own: %+v", own.Rows)
		}
		return ""
	})
	b.agent()
	for who, o := range map[string]overview.Overview{"own": own, "agent": b.affected()} {
		if o.SchemaVersion != overview.SchemaVersion || o.Node != "node1" || len(o.Rows) == 0 {
			t.Fatalf("%s: %+v", who, o)
		}
		if o.Verdict != diagnose.Fault || who == "own" && o.VerdictWindowSeconds < 2.5 || math.Abs(o.VerdictWindowSeconds-o.WindowSeconds) > 1 {
			t.Errorf("%s: %s of %.1f s, and rows of %.1f s", who, o.Verdict, o.VerdictWindowSeconds, o.WindowSeconds)
		}
		r := o.Rows[0]
		if r.Src.Workload != "web" || r.Dst.Workload != "api" || r.Worst == nil || r.Worst.Stage != journey.Queue || r.Path == nil || r.Path.P50 < 0.1 {
			t.Errorf("%s: the first row is %+v, worst at %v", who, r, r.Worst)
		}
	}
	if out := b.output("top", "--once", "--filter", "web dir=out", "--limit", "1"); !strings.Contains(out, "default/web → ") || !strings.Contains(out, "!queue") {
		t.Errorf("as a table:\n%s", out)
	}
	if out := b.output("top", "--once", "--by", "flow", "--sort", "-src"); !strings.Contains(out, ":8080") {
		t.Errorf("by flow:\n%s", out)
	}
	if out := b.output("top", "--once", "--by", "device"); !strings.Contains(out, "\n! ") {
		t.Errorf("by device:\n%s", out)
	}
	// Where an answer comes late TCP opens a connection a second time, which its other end drops.
	out := b.output("trace", "--drops", "--proto", "udp", "--once", "3", "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d drops: %s", len(lines), out)
	}
	for _, line := range lines {
		var got trace.Trace
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if got.Drop == nil || got.Drop.Stage != journey.Queue || got.Drop.Device != own.Rows[0].Worst.Device || got.Drop.Reason == "" || got.Drop.Location == "" {
			t.Errorf("drop %+v", got.Drop)
		}
	}
	out = b.output("trace", "--once", "2", "--stage", "queue>100ms", "--workload", "api", "--proto", "udp")
	if strings.Count(out, "queue  ") < 2 || strings.Contains(out, "tcp") {
		t.Errorf("slow in the queue:\n%s", out)
	}
}

// TestTop types keys into the live view in a real terminal and reads its screen.
func TestTop(t *testing.T) {
	t.Parallel()
	b := newBench(t, "l")
	stop := b.agent()
	b.affected()
	term, err := terminal.Start(100, 30, []string{"TRACER_TEST_RUN=1"}, b.line("top", "--interval", "500ms")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := term.Close(); err != nil {
			t.Error(err)
		}
	})
	wait := func(texts ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		if err := term.Wait(ctx, texts...); err != nil {
			t.Fatal(err)
		}
	}
	press := func(keys ...string) {
		t.Helper()
		if err := term.Press(keys...); err != nil {
			t.Fatal(err)
		}
	}
	wait("tracer node1", "FAULT", "web → default/api", "!queue", "█ queue")
	press("Enter")
	wait("STAGE", "≤1ms", "in flight", "critical  qdisc-d", "$ tc -s qdisc show dev")
	reach := func(key string, texts ...string) { // what is on the page grows as things happen
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		for {
			press(key)
			short, stop := context.WithTimeout(ctx, 3*time.Second)
			err := term.Wait(short, texts...)
			stop()
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	reach("End", "SLOWEST JOURNEYS", "udp 10.244.1.2")
	press("Escape")
	wait("SOURCE →")
	press("v")
	wait("critical  qdisc-d", "overlay · ")
	press("Escape")
	wait("SOURCE →") // what follows an escape at once is another key
	press("4")
	wait("BACKLOG", "uplink", "! ")
	press("Enter")
	wait("root qdisc is")
	reach("End", "QDISC", "OVER")
	press("Escape")
	wait("DEVICE ")
	press("3")
	wait(":8080")
	press("1", "/")
	press("p99>100")
	wait("^", "such as 10ms")
	press("ms", "Enter")
	wait("filter: p99>100ms", "web → default/api")
	press("Escape")
	wait("1 of 2")
	press("?")
	wait("what hurts most")
	press("?", "Space")
	wait("PAUSED")
	press("Space")
	wait("every 500ms")
	if err := term.Resize(60, 15); err != nil {
		t.Fatal(err)
	}
	wait("default/web → default/api", "/ filter")
	if err := term.Resize(100, 30); err != nil {
		t.Fatal(err)
	}
	stop()
	wait("STALE", "trying again", "web → default/api")
	b.agent()
	wait("every 500ms")
	press("q")
	for end := time.Now().Add(30 * time.Second); term.Running(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("q does not end it")
		}
	}
}

// TestTopRefuses says what to do instead.
func TestTopRefuses(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	for args, want := range map[string]string{
		"top":                           "--once",
		"top -o json":                   "add it",
		"top --once -o yaml":            "choose table or json",
		"top --once --interval 1ms":     "between",
		"top --once --limit -1":         "negative",
		"top --once --sort jitter":      "choose pain",
		"top --once --by cow":           "choose pair",
		"top --once --filter p99>10":    "      ^",
		"top --once --devices nothing*": "nothing*",
	} {
		if _, err := execute(t, append(strings.Fields(args), "--run-dir", t.TempDir())...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	// Nothing runs in a namespace without traffic, and it says so. IPv6 would announce itself.
	withoutIPv6(t)
	out, err := execute(t, "top", "--once", "--interval", "200ms", "--devices", "uplink=eth0", "--run-dir", t.TempDir())
	if err != nil || !strings.Contains(out, "NO TRAFFIC") || !strings.Contains(out, "tracer check") {
		t.Errorf("%v:\n%s", err, out)
	}
}
