package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tracer/internal/agents/agentstest"
)

// TestNoCluster: where there is no cluster each command ends at once, and says what it looked for.
func TestNoCluster(t *testing.T) {
	t.Parallel()
	const nobody = "127.0.0.1:1" // a port that nobody is given by chance
	closed := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, clusters: [{name: a, cluster: {server: "http://` + nobody + `"}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}`
	if err := os.WriteFile(closed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "none")
	for _, command := range [][]string{{"nodes"}, {"diagnose"}, {"top", "--once"}, {"path", "a", "b"}, {"trace", "a", "b"}} {
		for kubeconfig, want := range map[string]string{missing: missing, closed: nobody} {
			t.Run(command[0]+" "+filepath.Base(kubeconfig), func(t *testing.T) {
				t.Parallel()
				root := newRootCommand()
				root.SetOut(new(bytes.Buffer))
				root.SetErr(new(bytes.Buffer))
				root.SetArgs(append(command, "--kubeconfig", kubeconfig))
				begin := time.Now()
				err := root.ExecuteContext(t.Context())
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %s", err, want)
				}
				if took := time.Since(begin); took > 20*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}

// TestDeadAmongMany asks 500 nodes of which five are dead: the verdict is that of the others, and names the five. Each of these is waited for
// once, while others are asked.
func TestDeadAmongMany(t *testing.T) {
	t.Parallel()
	dead := map[string]bool{}
	var nodes []string
	for i := range 500 {
		nodes = append(nodes, fmt.Sprintf("node-%03d", i))
		dead[nodes[i]] = i%100 == 42
	}
	s := agentstest.New(t, nodes...)
	s.Objects = shop(nodes...)
	var mu sync.Mutex
	asked, waiting, together := map[string]int{}, 0, 0 // of those that are dead
	s.Connect = func(node string, c net.Conn) {
		defer c.Close()
		if dead[node] {
			mu.Lock()
			asked[node]++
			waiting++
			together = max(together, waiting)
			mu.Unlock()
			_, _ = io.Copy(io.Discard, c) // its kubelet took the stream, and nothing answers until the other side has had enough
			mu.Lock()
			waiting--
			mu.Unlock()
			return
		}
		agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"version":"v1","verdict":"healthy","summary":"fine"}`)
		}))
	}
	const limit = 8 * time.Second // more than a busy machine takes for one that answers
	var out bytes.Buffer
	root := newRootCommand()
	root.SetOut(&out)
	root.SetErr(new(bytes.Buffer))
	root.SetArgs([]string{"diagnose", "--timeout", limit.String(), "--kubeconfig", kubeconfigOf(t, s)})
	begin := time.Now()
	err := root.ExecuteContext(t.Context())
	if took := time.Since(begin); took < limit {
		t.Errorf("it waited no longer than %v", took)
	}
	mu.Lock()
	defer mu.Unlock()
	if together < 2 {
		t.Error("while it waited for one it asked no other")
	}
	text := out.String()
	if !strings.Contains(text, "495 of 500 nodes") {
		t.Errorf("%v\n%s", err, text)
	}
	for node, isDead := range dead {
		if strings.Contains(text, node) != isDead {
			t.Errorf("%s is dead: %t\n%s", node, isDead, text)
		}
		if isDead && asked[node] != 1 {
			t.Errorf("%s was asked %d times", node, asked[node])
		}
	}
}
