package agents

import (
	"net"
	"strings"
	"testing"

	"tracer/internal/agents/agentstest"
)

// TestViewers asks through the viewers' pods where the account may not exec into the agents' own, or not even list them; without these it says
// which right is missing.
func TestViewers(t *testing.T) {
	t.Parallel()
	for _, forbidden := range []string{"", "/api/v1/namespaces/tracer/pods"} {
		s := agentstest.New(t, "node-a", "node-b")
		s.Viewers, s.Forbidden = true, forbidden
		s.Connect = func(node string, c net.Conn) { agentstest.Serve(c, healthy(node, 10)) }
		answers := askAll(t.Context(), t, clusterOf(t, s), long)
		for _, node := range s.Nodes {
			if a := answers[node]; a.Err != nil || a.Value.Node != node || !a.Viewer {
				t.Errorf("%q: %s: %+v, %v", forbidden, node, a.Agent, a.Err)
			}
		}
		if s.Execs["viewer"] != 2 {
			t.Errorf("%q: asked by %v", forbidden, s.Execs)
		}
	}
	s := agentstest.New(t, "node-a")
	s.Forbidden = "/api/v1/namespaces/tracer/pods"
	if _, _, err := clusterOf(t, s).List(t.Context()); err == nil || !strings.Contains(err.Error(), "list pods: your account lacks a right on") {
		t.Error(err)
	}
	for _, websockets := range []bool{true, false} {
		s = agentstest.New(t, "node-a")
		s.NoExec, s.WebSockets = true, websockets
		if a := askAll(t.Context(), t, clusterOf(t, s), long)["node-a"]; a.Err == nil || !strings.Contains(a.Err.Error(), `cannot create resource "pods/exec"`) {
			t.Errorf("who may not exec is told %v", a.Err)
		}
	}
	// Where both ways are open, the agents' own is taken.
	s = agentstest.New(t, "node-a")
	s.Connect = func(node string, c net.Conn) { agentstest.Serve(c, healthy(node, 10)) }
	if a := askAll(t.Context(), t, clusterOf(t, s), long)["node-a"]; a.Err != nil || a.Viewer || s.Execs["viewer"] != 0 {
		t.Errorf("%+v, %v", a.Agent, a.Err)
	}
}

// TestFewRights has an account that may list the pods of its own namespace alone.
func TestFewRights(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "node-a")
	s.Objects = store()
	s.Objects["/api/v1/namespaces/store/pods"] = s.Objects["/api/v1/pods"]
	delete(s.Objects, "/api/v1/pods")
	s.Forbidden = "/api/v1/pods"
	c := clusterOf(t, s)
	r, err := c.Resolver(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := r.Resolve(t.Context(), "db-0"); err != nil || len(e.Nodes) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	m, err := c.Map(t.Context())
	if err != nil || !m.Nameless {
		t.Errorf("%+v, %v", m, err)
	}
}
