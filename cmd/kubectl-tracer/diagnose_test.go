package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tracer/internal/agents/agentstest"
)

// TestDiagnoseEachOnce asks a node that is named twice once, and counts it once.
func TestDiagnoseEachOnce(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a", "b")
	s.Objects = shop("a", "b")
	s.Connect = func(_ string, c net.Conn) {
		agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"version":"v1","verdict":"healthy","summary":"fine"}`)
		}))
	}
	q := clusterQuery{nodes: []string{"a", "a", "b", "a"}, window: time.Second, limit: time.Minute}
	r, err := diagnoseCluster(t.Context(), clusterOf(t, s.Config()), q, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Nodes) != 2 || r.Nodes[0].Name != "a" || r.Nodes[1].Name != "b" || r.Summary != "no fault on 2 of 2 nodes; other nodes were not asked" {
		t.Errorf("%s: %+v", r.Summary, r.Nodes)
	}
}

// TestDiagnoseEnds asks the nodes of two ends alone.
func TestDiagnoseEnds(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a", "b", "unconcerned")
	s.Objects = shop("a", "b", "unconcerned")
	s.Connect = func(node string, c net.Conn) {
		if node == "unconcerned" {
			t.Errorf("%s was asked", node)
		}
		agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"version":"v1","verdict":"healthy","summary":"fine"}`)
		}))
	}
	var out bytes.Buffer
	root := newRootCommand()
	root.SetOut(&out)
	root.SetArgs([]string{"diagnose", "pod/a", "b", "--kubeconfig", kubeconfigOf(t, s)})
	if err := root.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "no fault on 2 of 2 nodes; other nodes were not asked") {
		t.Errorf("%v\n%s", err, &out)
	}
	root.SetArgs([]string{"diagnose", "pod/a", "--kubeconfig", kubeconfigOf(t, s)})
	if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "give SRC and DST") {
		t.Error(err)
	}
}
