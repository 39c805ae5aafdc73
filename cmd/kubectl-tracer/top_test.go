package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tracer/internal/agents"
	"tracer/internal/agents/agentstest"
	"tracer/internal/overview"
)

// overviews answers as an agent that has counted no flow at first.
func overviews(node string, rows func() []overview.Row) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := overview.ParseQuery(r.URL.Query())
		if err != nil || r.URL.Path != "/v1/overview" || q.By != overview.ByFlow || q.Limit != agents.MaxFlows {
			http.Error(w, "another request", http.StatusBadRequest)
			return
		}
		send := func(o *overview.Overview) {
			_ = json.NewEncoder(w).Encode(o)
			_ = http.NewResponseController(w).Flush()
		}
		about := overview.About{Node: node, Version: "v1", Kernel: "6.12", SampleRatio: 1}
		send(&overview.Overview{About: about, By: q.By})
		send(&overview.Overview{About: about, By: q.By, Taken: time.Unix(1e9, 0), Verdict: "healthy", VerdictWindowSeconds: 15, Rows: rows(), RowsTotal: 1})
		<-r.Context().Done()
	})
}

// twoNodes have a flow from a to b, and a third that does not answer.
func twoNodes(t *testing.T) *agentstest.Server {
	s := agentstest.New(t, "a", "b", "old")
	s.Objects = shop("a", "b")
	s.Connect = func(node string, c net.Conn) {
		if node == "old" {
			agentstest.Serve(c, http.NotFoundHandler())
			return
		}
		agentstest.Serve(c, overviews(node, func() []overview.Row {
			r := overview.Row{
				Src: overview.Party{Workload: "_unknown", Address: "10.244.1.2:4000"}, Dst: overview.Party{Workload: "_unknown", Address: "10.244.2.2:80"},
				Protocol: "tcp", Direction: "out", PacketsPerSecond: 10,
			}
			if node == "b" {
				r.Direction, r.PacketsPerSecond = "in", 9
			}
			return []overview.Row{r}
		}))
	}
	return s
}

func viewOf(t *testing.T, s *agentstest.Server) *clusterView {
	t.Helper()
	v, err := newClusterView(t.Context(), clusterOf(t, s.Config()), nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTopOnce prints each pair once, and the nodes with what they say.
func TestTopOnce(t *testing.T) {
	t.Parallel()
	v := viewOf(t, twoNodes(t))
	var text bytes.Buffer
	q := overview.Query{By: overview.ByPair, Interval: time.Second}
	if err := v.print(t.Context(), &text, io.Discard, q, "table"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cluster of 3 nodes", "shop/a → shop/b", "a, b", "NODE ", "old ", "no answer: ", "of another version"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	text.Reset()
	if err := v.print(t.Context(), &text, io.Discard, q, "json"); err != nil {
		t.Fatal(err)
	}
	var o overview.Overview
	if err := json.Unmarshal(text.Bytes(), &o); err != nil || len(o.Rows) != 1 || o.Rows[0].PacketsPerSecond != 10 || len(o.Nodes) != 3 {
		t.Errorf("%v: %+v", err, o)
	}
}

// TestTopLive goes on as the streams do, and ends with its context.
func TestTopLive(t *testing.T) {
	t.Parallel()
	v := viewOf(t, twoNodes(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for o, err := range v.Overviews(ctx, overview.Query{By: overview.ByPair, Interval: 100 * time.Millisecond}) {
		if err != nil || len(o.Rows) != 1 || len(o.Nodes) != 3 || o.Nodes[2].Error == "" {
			t.Fatalf("%v: %+v", err, o)
		}
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d overviews", n)
	}
}

// TestTopNobody has no agent that answers: exit code 1, and the nodes say why.
func TestTopNobody(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "old")
	s.Objects = shop("old")
	s.Connect = func(_ string, c net.Conn) { agentstest.Serve(c, http.NotFoundHandler()) }
	var text bytes.Buffer
	err := viewOf(t, s).print(t.Context(), &text, io.Discard, overview.Query{By: overview.ByPair, Interval: time.Second}, "table")
	if fmt.Sprint(err) != "exit code 1" || !strings.Contains(text.String(), "no agent answered") {
		t.Errorf("%v\n%s", err, &text)
	}
}
