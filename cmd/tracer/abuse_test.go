//go:build abuse

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// resident is what the agent has in memory, in MiB.
func (a *agentProcess) resident() float64 {
	a.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	var kib float64
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %f kB", &kib)
	}
	return kib / 1024
}

// TestAbuse does to the agent what its clients must not be able to: it answers the kubelet meanwhile, its memory stays within a
// bound, and comes back. It prints the table of docs/reports/reliability.md; make abuse runs it.
func TestAbuse(t *testing.T) {
	inNamespace(t)
	a := startAgent(t)
	a.await("the first scrape", a.healthy)
	const mostMiB = 48
	slow := "GET / HTTP/1.1\r\nHost: x\r\n" // the header does not end
	t.Logf("| what | clients | memory before, meanwhile, after (MiB) | health, the slowest answer |")
	for _, test := range []struct {
		what, server, request string
		clients               int
	}{
		{"streams of traces that nobody reads", "socket", "GET /v1/trace HTTP/1.1\r\nHost: x\r\n\r\n", 500},
		{"views that nobody reads", "socket", "GET /v1/overview?interval=100ms HTTP/1.1\r\nHost: x\r\n\r\n", 500},
		{"slow requests to the socket", "socket", slow, 2000},
		{"slow requests to /metrics", "metrics", slow, 2000},
		{"slow requests to the probes' port", "health", slow, 2000},
		{"scrapes that nobody reads", "metrics", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 1000},
		{"requests for all flows that nobody reads", "socket", "GET /v1/snapshot HTTP/1.1\r\nHost: x\r\n\r\n", 1000},
		{"requests with a body of 1 TB", "metrics", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\n\r\n" + strings.Repeat("x", 32<<10), 1000},
		{"headers without end", "metrics", "GET /metrics HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 10_000), 1000},
		{"no HTTP", "metrics", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 1000},
	} {
		before := a.resident()
		conns := make([]net.Conn, 0, test.clients)
		for range test.clients {
			conn, err := a.dial(test.server)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
			_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.WriteString(conn, test.request)
		}
		var slowest time.Duration
		most := 0.0
		for range 40 {
			began := time.Now()
			if code, body, err := a.get("health", "/healthz"); err != nil || code != 200 {
				t.Errorf("%s: health answers %d %s, %v", test.what, code, body, err)
			}
			slowest = max(slowest, time.Since(began))
			most = max(most, a.resident())
			time.Sleep(50 * time.Millisecond)
		}
		for _, conn := range conns {
			conn.Close()
		}
		a.await("all to be well", a.healthy)
		after := a.resident()
		t.Logf("| %s | %d | %.0f, %.0f, %.0f | %v |", test.what, test.clients, before, most, after, slowest.Round(time.Millisecond))
		if most-before > mostMiB {
			t.Errorf("%s took %.0f MiB", test.what, most-before)
		}
	}
}
