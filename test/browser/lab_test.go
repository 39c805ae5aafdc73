package browser

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const labName = "browser"

// lab is two nodes on this machine, the first with an agent.
type lab struct {
	testing.TB
	tracer, dir string
	agent       *exec.Cmd
}

func newLab(t testing.TB) *lab {
	t.Helper()
	tracer, err := filepath.Abs(*program)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{TB: t, tracer: tracer, dir: t.TempDir()}
	t.Cleanup(func() { l.run("down") })
	l.run("up")
	l.startAgent()
	t.Cleanup(l.stopAgent)
	return l
}

// run is tracer lab.
func (l *lab) run(args ...string) {
	l.Helper()
	args = append(append([]string{"lab"}, args...), "--name", labName, "--run-dir", l.dir)
	if out, err := exec.Command(l.tracer, args...).CombinedOutput(); err != nil {
		l.Fatalf("tracer %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// startAgent starts the first node's, and waits for its socket.
func (l *lab) startAgent() {
	l.Helper()
	l.agent = exec.Command("ip", "netns", "exec", labName+"-node1", l.tracer, "agent", "--run-dir", l.dir, "--listen", "127.0.0.1:0",
		"--health-listen", "127.0.0.1:0", "--state-dir=")
	l.agent.Stderr = l.Output()
	if err := l.agent.Start(); err != nil {
		l.Fatal(err)
	}
	for until := time.Now().Add(timeout); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(l.socket()); err == nil {
			return
		}
		if time.Now().After(until) {
			l.Fatal("the agent does not serve its socket")
		}
	}
}

func (l *lab) socket() string { return filepath.Join(l.dir, "agent.sock") }

func (l *lab) stopAgent() {
	l.Helper()
	if l.agent == nil {
		return
	}
	if err := l.agent.Process.Signal(syscall.SIGTERM); err != nil {
		l.Error(err)
	}
	if err := l.agent.Wait(); err != nil {
		l.Error(err)
	}
	l.agent = nil
}

// serve starts tracer ui, and returns the address that it prints.
func (l *lab) serve() (address string) {
	l.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, l.tracer, "ui", "--socket", l.socket(), "--no-browser")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = l.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		stop()
		_, _ = io.Copy(io.Discard, out) // so that it is not held up
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			l.Errorf("tracer ui ends with %d after Ctrl-C", code)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		l.Fatalf("read the address: %v", err)
	}
	return strings.TrimSpace(line)
}
