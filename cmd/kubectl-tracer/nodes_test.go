package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"tracer/internal/agents/agentstest"
)

// TestNodes lists each node once, those without an answer with why, as a table and as JSON.
func TestNodes(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a", "old")
	s.Objects = shop("a", "old")
	s.Connect = func(node string, c net.Conn) {
		if node == "old" {
			agentstest.Serve(c, http.NotFoundHandler())
			return
		}
		agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := `{"version":"v1","kernel":"6.12","hooks":[{"attached":true},{"attached":true,"silent":true},{"attached":false}]}`
			if r.URL.Path == "/v1/findings" {
				answer = `{"findings":[{"finding":{"cause":"qdisc-delay","device":"tunl0","severity":"critical"}}],"coverage":[{"ratio":0.9},{"ratio":0.5},{"ratio":null}]}`
			}
			_, _ = w.Write([]byte(answer))
		}))
	}
	run := func(args ...string) string {
		var out bytes.Buffer
		root := newRootCommand()
		root.SetOut(&out)
		root.SetErr(new(bytes.Buffer))
		root.SetArgs(append(append([]string{"nodes"}, args...), "--kubeconfig", kubeconfigOf(t, s)))
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	text := run()
	for _, want := range []string{"a     v1     6.12    1/3    50 %  qdisc-delay at tunl0 (critical)", "old   -", "of another version"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines != 3 {
		t.Errorf("%d lines:\n%s", lines, text)
	}
	var l nodeList
	if err := json.Unmarshal([]byte(run("-o", "json")), &l); err != nil {
		t.Fatal(err)
	}
	if len(l.Nodes) != 2 || l.Nodes[0].HooksUp != 1 || l.Nodes[0].HooksMissing != 2 || *l.Nodes[0].Coverage != 0.5 || len(l.Nodes[0].Findings) != 1 || l.Nodes[1].Error == "" || l.Nodes[1].Findings == nil {
		t.Errorf("%+v", l)
	}
}
