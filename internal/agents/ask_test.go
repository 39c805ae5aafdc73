package agents

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"tracer/internal/agents/agentstest"
	"tracer/internal/export/api"
)

// askAll asks all agents for their status, each for limit, and returns the answers by node.
func askAll(ctx context.Context, t *testing.T, c *Cluster, limit time.Duration) map[string]Answer[api.Status] {
	t.Helper()
	all, _, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]Answer[api.Status]{}
	Ask(ctx, c, all, limit, func(ctx context.Context, client *api.Client) (api.Status, error) {
		return client.Status(ctx)
	}, func(a Answer[api.Status]) { answers[a.Node] = a })
	return answers
}

// long is a limit that no test comes to.
const long = time.Minute

func TestAsk(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"websocket", "spdy"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := agentstest.New(t, "node-a", "node-b")
			s.WebSockets = way == "websocket"
			s.Connect = func(node string, c net.Conn) { agentstest.Serve(c, healthy(node, 100_000)) }
			answers := askAll(t.Context(), t, clusterOf(t, s), long)
			for _, node := range s.Nodes {
				if a := answers[node]; a.Err != nil || a.Value.Node != node || len(a.Value.Kernel) != 100_000 {
					t.Errorf("%s: %v, %q, %d bytes", node, a.Err, a.Value.Node, len(a.Value.Kernel))
				}
			}
			if len(s.Execs) != 1 || s.Execs[way] != 2 {
				t.Errorf("asked by %v, want one stream each by %s", s.Execs, way)
			}
		})
	}
}

// TestSeveralQuestions has one stream serve all requests to an agent.
func TestSeveralQuestions(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "node-a")
	s.Connect = func(node string, c net.Conn) { agentstest.Serve(c, healthy(node, 10)) }
	c := clusterOf(t, s)
	client := c.Client(Agent{Node: "node-a", Pod: "agent-node-a"})
	defer client.Close()
	for range 5 {
		if _, err := client.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Execs["websocket"] != 1 {
		t.Errorf("%d streams", s.Execs["websocket"])
	}
}

// TestFaults asks agents of which some break, hang, or are not there: each is told by itself, and the others answer.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, websockets := range []bool{true, false} {
		t.Run(fmt.Sprintf("websockets %v", websockets), func(t *testing.T) {
			t.Parallel()
			s := agentstest.New(t, "breaks", "hangs", "ends", "talks", "well")
			s.WebSockets = websockets
			release := make(chan struct{})
			defer close(release)
			s.Connect = func(node string, c net.Conn) {
				defer c.Close()
				switch node {
				case "well":
					agentstest.Serve(c, healthy(node, 10))
				case "breaks": // in the middle of its answer
					_, _ = http.ReadRequest(bufio.NewReader(c))
					_, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"node\":\"bre")
				case "hangs": // and reads on
					_, _ = http.ReadRequest(bufio.NewReader(c))
					<-release
				case "talks": // something else
					_, _ = http.ReadRequest(bufio.NewReader(c))
					_, _ = fmt.Fprint(c, "bash: /tracer: not found\r\n\r\n")
				}
			}
			begin := time.Now()
			answers := askAll(t.Context(), t, clusterOf(t, s), 3*time.Second)
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			for node, want := range map[string]string{
				"breaks": "unexpected EOF", "hangs": "no answer within 3s", "ends": "it ended without an answer", "talks": "malformed HTTP", "well": "",
			} {
				a := answers[node]
				if want == "" && a.Err != nil || want != "" && (a.Err == nil || !strings.Contains(a.Err.Error(), want)) {
					t.Errorf("%s: %v, want %q", node, a.Err, want)
				}
			}
		})
	}
}

// TestInterrupted returns what has come so far.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "hangs", "well")
	ctx, cancel := context.WithCancel(t.Context())
	s.Connect = func(node string, c net.Conn) {
		if node == "well" {
			agentstest.Serve(c, healthy(node, 10))
		}
		defer c.Close()
		<-ctx.Done()
	}
	all, _, err := clusterOf(t, s).List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	errs := map[string]error{}
	Ask(ctx, clusterOf(t, s), all, long, func(ctx context.Context, client *api.Client) (api.Status, error) {
		return client.Status(ctx)
	}, func(a Answer[api.Status]) {
		if errs[a.Node] = a.Err; a.Node == "well" {
			cancel()
		}
	})
	if errs["well"] != nil || errs["hangs"] == nil || len(errs) != 2 {
		t.Errorf("%v", errs)
	}
}

// TestAHundred asks as many agents: with less than 5 s of CPU time, as others may take the CPUs meanwhile, and less than 200 MiB for them
// and their server together, and never more than MaxAtOnce at a time.
func TestAHundred(t *testing.T) { // alone: it measures
	var nodes []string
	for i := range 100 {
		nodes = append(nodes, fmt.Sprintf("node-%d", i))
	}
	s := agentstest.New(t, nodes...)
	s.Connect = func(node string, c net.Conn) { agentstest.Serve(c, healthy(node, 50_000)) }
	c := clusterOf(t, s)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin, worked := time.Now(), cpuTime(t)
	all, _, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]Answer[api.Status]{}
	var open, most atomic.Int32
	Ask(t.Context(), c, all, long, func(ctx context.Context, client *api.Client) (api.Status, error) {
		for n := open.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		defer open.Add(-1)
		return client.Status(ctx)
	}, func(a Answer[api.Status]) { answers[a.Node] = a })
	took, cpu := time.Since(begin), cpuTime(t)-worked
	runtime.ReadMemStats(&after)
	for _, node := range nodes {
		if a := answers[node]; a.Err != nil || a.Value.Node != node {
			t.Errorf("%s: %q, %v", node, a.Value.Node, a.Err)
		}
	}
	memory := (after.Sys - before.Sys) >> 20 // the heap's reservation does not shrink: this is the most
	t.Logf("100 agents in %v, with %v of CPU time and %d MiB, %d at once", took, cpu, memory, most.Load())
	if cpu > 5*time.Second || took > long || memory > 200 || most.Load() > MaxAtOnce {
		t.Errorf("took %v, %v, %d MiB, %d at once", took, cpu, memory, most.Load())
	}
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// healthy is an agent whose every answer names its node, with some ballast.
func healthy(node string, ballast int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"node":%q,"version":"v1","kernel":%q}`, node, strings.Repeat("k", ballast))
	})
}

// TestMain silences client-go, which logs of each stream how it ended.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	m.Run()
}

// clusterOf is a server's cluster as a client sees it.
func clusterOf(t *testing.T, s *agentstest.Server) *Cluster {
	t.Helper()
	c, err := New(s.Config(), "tracer", "tracer-viewer")
	if err != nil {
		t.Fatal(err)
	}
	return c
}
