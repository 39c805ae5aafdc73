package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// agentProcess is an agent in a process of its own, in the test's network namespace.
type agentProcess struct {
	*exec.Cmd
	t      testing.TB
	log    *logBuffer
	dir    string
	ended  chan struct{}
	result error
}

// logBuffer is what a process has logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startAgent starts one, with files of its own, and waits until it traces.
func startAgent(t testing.TB, args ...string) *agentProcess {
	t.Helper()
	a := launchAgent(t, args...)
	a.await("the start", func() bool { return strings.Contains(a.log.String(), "tracing started") })
	return a
}

// launchAgent does not wait.
func launchAgent(t testing.TB, args ...string) *agentProcess {
	return launchAgentUnder(t, ":", args...)
}

// launchAgentUnder runs it in a shell, after a command that limits it.
func launchAgentUnder(t testing.TB, limit string, args ...string) *agentProcess {
	t.Helper()
	a := &agentProcess{t: t, log: &logBuffer{}, dir: t.TempDir(), ended: make(chan struct{})}
	a.Cmd = tracer(append([]string{"agent", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--run-dir", a.dir, "--state-dir", ""}, args...)...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a.Path, a.Args = "/bin/sh", append([]string{"sh", "-c", limit + ` && exec "$0" "$@"`, self}, a.Args[1:]...)
	a.Stderr = a.log
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		a.result = a.Wait()
		close(a.ended)
	}()
	t.Cleanup(func() {
		_ = a.Process.Kill()
		<-a.ended
		if t.Failed() {
			t.Logf("the agent's log:\n%s", a.log)
		}
	})
	return a
}

// await waits until a condition holds, and fails if the agent ends before.
func (a *agentProcess) await(what string, holds func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-a.ended:
			a.t.Fatalf("the agent ended while the test waited for %s: %v", what, a.result)
		default:
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("waited too long for %s", what)
		}
	}
}

// refuses waits until the agent has ended by itself, with an error that says all of these.
func (a *agentProcess) refuses(want ...string) {
	a.t.Helper()
	select {
	case <-a.ended:
	case <-time.After(time.Minute):
		a.t.Errorf("the agent goes on: %s", a.log)
		return
	}
	for _, text := range want {
		if a.result == nil || !strings.Contains(a.log.String(), text) {
			a.t.Errorf("the end: %v, without %q: %s", a.result, text, a.log)
		}
	}
}

// stop ends it, as Kubernetes does, and returns its error.
func (a *agentProcess) stop() error {
	a.t.Helper()
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	select {
	case <-a.ended:
	case <-time.After(time.Minute):
		a.t.Fatal("the agent does not end")
	}
	return a.result
}

// address is where it serves metrics, health or the socket.
func (a *agentProcess) address(server string) (network, address string) {
	a.t.Helper()
	match := regexp.MustCompile(`msg=serving server=` + server + ` address=(\S+)`).FindStringSubmatch(a.log.String())
	if match == nil {
		a.t.Fatalf("the agent does not say where it serves %s", server)
	}
	if server == "socket" {
		return "unix", match[1]
	}
	return "tcp", match[1]
}

// dial connects in the calling thread's network namespace.
func (a *agentProcess) dial(server string) (net.Conn, error) {
	network, address := a.address(server)
	return net.DialTimeout(network, address, 10*time.Second)
}

// get asks once.
func (a *agentProcess) get(server, path string) (code int, body string, err error) {
	conn, err := a.dial(server)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n", path); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// healthy tells whether all that it serves is answered.
func (a *agentProcess) healthy() bool {
	for server, path := range map[string]string{"health": "/healthz", "metrics": "/metrics", "socket": "/v1/status"} {
		if code, _, err := a.get(server, path); err != nil || code != http.StatusOK {
			return false
		}
	}
	return true
}
